// Requests: one at a time, and none while the page is paused or hidden

let timer = 0, asking = false;

async function tick() {
  clearTimeout(timer);
  if (asking || resting()) return;
  asking = true;
  const began = Date.now();
  try {
    heard(await ask(), Date.now());
  } catch (problem) {
    missed({ refused: problem.refused, words: problem.words || 'No answer' }, Date.now());
  } finally {
    asking = false;
  }
  if (!resting()) timer = setTimeout(tick, Math.max(EVERY / 4, began + EVERY - Date.now()));
  try {
    show();
  } catch {
    // A relay of another version may answer in a format that this page does not understand.
    known.data = null;
    missed({ words: 'No answer that this page understands' }, Date.now());
    show();
  }
}

async function ask() {
  const headers = known.key ? { 'statsig-api-key': known.key } : {};
  const answer = await fetch(needsHistory() ? 'watch?history' : 'watch', { headers, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 401) throw { refused: true };
  if (!answer.ok) throw { words: `Only status ${answer.status}` };
  return answer.json();
}
