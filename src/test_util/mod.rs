//! What apps test themselves with.
