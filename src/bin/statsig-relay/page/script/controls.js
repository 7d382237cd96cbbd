// Controls

byId('pause').addEventListener('click', () => {
  known.paused = !known.paused;
  show();
  tick();
});
byId('ask-key').addEventListener('submit', event => {
  event.preventDefault();
  known.key = byId('key').value;
  byId('key').value = '';
  tick();
});
document.addEventListener('visibilitychange', tick);
show();
tick();
