// Asks the node that served this page, and hears of its blocks: by WebSocket, or by asking again and again.

export class RpcError extends Error {
  constructor(message, code, reason, waitMs) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.waitMs = waitMs;
  }
}

const TRIES = 3;
const METHOD_NOT_FOUND = -32601;
let ident = 0;

// The answer of a method. Waits and asks again when the node says "too many requests".
export async function call(method, params = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask(method, params);
    } catch (error) {
      if (!(error instanceof RpcError) || error.reason !== "rate_limited" || attempt === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.min(error.waitMs ?? 1_000, 10_000)));
    }
  }
}

// As `call`; null when this node has no such method.
export async function callIfThere(method, params = {}) {
  try {
    return await call(method, params);
  } catch (error) {
    if (error instanceof RpcError && error.code === METHOD_NOT_FOUND) return null;
    throw error;
  }
}

async function ask(method, params) {
  ident += 1;
  let response;
  try {
    response = await fetch("/", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: ident, method, params }),
      cache: "no-store",
    });
  } catch {
    throw new RpcError("the node does not answer", 0, "unreachable");
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new RpcError(`the node answered with status ${response.status}`, 0, "status");
  }
  if (answer.error) {
    const data = answer.error.data ?? {};
    throw new RpcError(answer.error.message, answer.error.code, data.reason, data.retry_after_ms);
  }
  return answer.result;
}

const SOCKET_PATH = "/ws";
const RETRY_MS = 30_000;
const POLL_MS = 1_000;

// Calls onInfo with each new chain_info, and onLost with an error when the node is gone.
// A WebSocket only says that there is something new; what it is is asked as ever.
export class Live {
  constructor(onInfo, onLost) {
    this.onInfo = onInfo;
    this.onLost = onLost;
    this.mode = "polling";
    this.isAsking = false;
    this.isStale = false;
    this.openSocket();
    this.refresh();
    setInterval(() => {
      // A hidden page need not keep up; it does when it is seen again.
      if (!document.hidden && this.mode === "polling") this.refresh();
    }, POLL_MS);
    // The node's trouble and the pool change without a block.
    setInterval(() => {
      if (!document.hidden) this.refresh();
    }, 5_000);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
    });
  }

  async refresh() {
    if (this.isAsking) {
      this.isStale = true;
      return;
    }
    this.isAsking = true;
    try {
      do {
        this.isStale = false;
        this.onInfo(await call("chain_info"));
      } while (this.isStale);
    } catch (error) {
      this.onLost(error);
    } finally {
      this.isAsking = false;
    }
  }

  openSocket() {
    const url = new URL(SOCKET_PATH, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.hash = "";
    const socket = new WebSocket(url);
    socket.addEventListener("open", () => {
      socket.send(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "subscribe", params: { topic: "blocks" } }));
    });
    socket.addEventListener("message", (event) => {
      let message;
      try {
        message = JSON.parse(event.data);
      } catch {
        socket.close();
        return;
      }
      if (message.error || message.params?.error) socket.close();
      else {
        this.mode = "live";
        this.refresh();
      }
    });
    socket.addEventListener("close", () => {
      this.mode = "polling";
      setTimeout(() => this.openSocket(), RETRY_MS);
    });
  }
}
