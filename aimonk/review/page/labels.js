// values of all images, kept equal to those of the server; every change is answered only when it is on disk
export const STATES = ["absent", "present", "unknown"];
export const UNKNOWN = 2;
const MOST_RESTORED = 50; // one by one
const CYCLE = [2, 0, 1]; // absent -> unknown, present -> absent, unknown -> present

export const labels = { names: [], attributes: [], values: [], reviewed: [], seq: 0, pending: 0, sent: 0 };
const client = sessionStorage.getItem("client") || crypto.randomUUID();
sessionStorage.setItem("client", client);
const listeners = [];
let chain = Promise.resolve();

export function onChange(listener) {
  listeners.push(listener);
}

function announce(rows) {
  for (const listener of listeners) listener(rows);
}

export async function get(path) {
  return answer(await fetch(path));
}

export async function post(path, content) {
  return answer(await fetch(path, { method: "POST", body: content }));
}

async function answer(response) {
  let content = null;
  try {
    content = await response.json();
  } catch {
    const renewed = "The command was started again: open the address that it has printed.";
    content = { error: response.status === 403 ? renewed : "The server failed; its terminal shows why." };
  }
  if (!response.ok) throw Object.assign(new Error(content.error), { status: response.status });
  return content;
}

export async function load() {
  Object.assign(labels, await get("/api/start"));
  return labels;
}

export function next(value) {
  return CYCLE[value];
}

// edits: [row, attribute, new value]; reviewed: [row, true or false]
export function change(edits, reviewed, fail) {
  edits = edits.filter(([row, attribute, value]) => labels.values[row][attribute] !== value);
  reviewed = reviewed.filter(([row, state]) => Boolean(labels.reviewed[row]) !== state);
  if (!edits.length && !reviewed.length) return;
  const sent = edits.map(([row, attribute, value]) => [row, attribute, labels.values[row][attribute], value]);
  for (const [row, attribute, value] of edits) labels.values[row][attribute] = value;
  for (const [row, state] of reviewed) labels.reviewed[row] = state;
  const rows = new Set([...edits, ...reviewed].map((item) => item[0]));
  const body = JSON.stringify({ client, edits: sent, reviewed: reviewed.map(([row, on]) => [row, on ? 1 : 0]) });
  submit(() => post("/api/edit", body), rows, fail);
  announce(rows);
}

export function undo(done, fail) {
  submit(
    async () => {
      const result = await post("/api/undo", JSON.stringify({ client }));
      take(result.changes);
      done(result.changes);
    },
    new Set(),
    fail,
  );
}

// one request after another: a later one may rest on the values of an earlier one
function submit(request, rows, fail) {
  labels.pending += 1;
  labels.sent += 1;
  chain = chain.then(async () => {
    try {
      await request();
    } catch (error) {
      fail(error);
      await restore(rows);
    } finally {
      labels.pending -= 1;
    }
  });
}

// the server's values of rows whose change it has refused
async function restore(rows) {
  if (rows.size > MOST_RESTORED) {
    await load();
    announce(rows);
    return;
  }
  for (const row of rows) {
    try {
      take([await get(`/api/images/${row}`)]);
    } catch {
      return;
    }
  }
}

function take(changes) {
  for (const { row, values, reviewed } of changes) {
    labels.values[row] = values;
    labels.reviewed[row] = reviewed;
  }
  announce(new Set(changes.map((change) => change.row)));
}

// changes of other tabs, the score, and whether the labels are written
export async function poll() {
  const { pending, sent } = labels;
  const state = await get(`/api/state?since=${labels.seq}`);
  // an answer from before an own change would show, and send, the old value
  if (pending || sent !== labels.sent) return state;
  labels.seq = state.seq;
  const changed = state.changes.filter(
    ({ row, values, reviewed }) =>
      Boolean(labels.reviewed[row]) !== reviewed || values.some((v, a) => v !== labels.values[row][a]),
  );
  if (changed.length) take(changed);
  return state;
}

export function describe(row) {
  const parts = labels.attributes.map((name, a) => `${name}: ${STATES[labels.values[row][a]]}`);
  return `${labels.names[row]}, ${parts.join(", ")}${labels.reviewed[row] ? ", reviewed" : ""}`;
}
