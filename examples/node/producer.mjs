// Node.js, without Celery: the message around a job is written by hand, as `alknet-firewall schema task-message` says.
//
//   npm ci
//   node producer.mjs "a text"             fire and forget: the verdict comes on firewall:results
//   node producer.mjs --wait "a text"      wait for it; exit 1 if the text must not go through
//   node producer.mjs --print "a text"     print the message only

import { randomUUID } from "node:crypto";

const REDIS_URL = process.env.REDIS_URL ?? "redis://127.0.0.1:6379/0";
const TIMEOUT_MS = 1000 * Number(process.env.FIREWALL_WAIT_S ?? 5);
// What happens when there is no verdict in time: open lets the text through, closed refuses it.
const FAIL_OPEN = process.env.FIREWALL_FAIL === "open";

/** Return a job as an element of the Redis list that is its queue. */
export function taskMessage(job, { id, queue, wait = false, expires = null }) {
  return JSON.stringify({
    body: Buffer.from(JSON.stringify([[job], {}, {}])).toString("base64"),
    "content-type": "application/json",
    "content-encoding": "utf-8",
    headers: {
      lang: "js",
      task: "alknet_firewall.screen",
      id,
      root_id: id,
      argsrepr: "(hidden)",
      kwargsrepr: "{}",
      ignore_result: !wait,
      expires, // a time as ISO 8601 text, after which nobody wants the verdict
      retries: 0,
    },
    properties: {
      correlation_id: id,
      delivery_tag: randomUUID(),
      delivery_mode: 2,
      delivery_info: { exchange: "", routing_key: queue },
      priority: 0,
      body_encoding: "base64",
    },
  });
}

function newJob(text, source) {
  return { job_id: randomUUID(), source, items: [{ id: "text", text }] };
}

/** Send a job and forget it; returns its id. */
export async function send(redis, text, source = "document") {
  const job = newJob(text, source);
  await redis.lPush("screening.bulk", taskMessage(job, { id: job.job_id, queue: "screening.bulk" }));
  return job.job_id;
}

/** Send a job and wait for its result; null if there is none in time. */
export async function screen(redis, text, source = "chat") {
  const job = newJob(text, source);
  const key = `celery-task-meta-${job.job_id}`;
  const expires = new Date(Date.now() + TIMEOUT_MS).toISOString();
  // Celery publishes the result on a channel of the same name as its key: listen before sending.
  const listener = redis.duplicate();
  listener.on("error", () => {});
  try {
    await listener.connect();
    let answered;
    const answer = new Promise((resolve) => (answered = resolve));
    await listener.subscribe(key, answered);
    await redis.lPush("screening", taskMessage(job, { id: job.job_id, queue: "screening", wait: true, expires }));
    const timer = setTimeout(answered, TIMEOUT_MS, null);
    const message = await answer;
    clearTimeout(timer);
    const found = message === null ? null : JSON.parse(message);
    return found?.status === "SUCCESS" ? found.result[0] : null;
  } catch {
    return null;
  } finally {
    if (listener.isOpen) listener.destroy();
  }
}

/** Whether the text may go through. */
export function allowed(result) {
  if (result === null || (result.status === "error" && result.error.retryable)) return FAIL_OPEN;
  // A text that cannot be screened is never let through: its author chose what it is.
  return result.status === "screened" && result.verdict === "clean";
}

async function main() {
  const [option, ...rest] = process.argv.slice(2);
  const text = option.startsWith("--") ? rest.join(" ") : [option, ...rest].join(" ");
  if (option === "--print") {
    const job = newJob(text, "chat");
    console.log(taskMessage(job, { id: job.job_id, queue: "screening" }));
    return 0;
  }
  const { createClient } = await import("redis");
  const redis = createClient({ url: REDIS_URL, socket: { connectTimeout: 2000, reconnectStrategy: false } });
  redis.on("error", () => {});
  let code = 0;
  try {
    await redis.connect();
    if (option === "--wait") {
      const result = await screen(redis, text);
      console.log(JSON.stringify({ allowed: allowed(result), result }));
      code = allowed(result) ? 0 : 1;
    } else {
      console.log(JSON.stringify({ job_id: await send(redis, text) }));
    }
  } catch {
    console.log(JSON.stringify({ allowed: FAIL_OPEN, result: null }));
    code = FAIL_OPEN ? 0 : 1;
  }
  if (redis.isOpen) redis.destroy();
  return code;
}

process.exitCode = await main();
