// One conversation: its questions and answers, and the answer that is being written.

import * as api from "./api.js";

const newTurn = (question) => ({
  question, state: "asking", error: null, foundMs: 0,
  response: { answer: "", kind: "generated", citations: [], flaws: [], results: null, usage: null, model: null,
    receipt: { stages: [], degraded: [] } },
});

/** What came of an answer is worth showing. */
const told = (turn) => turn.state === "done" || Boolean(turn.response.answer);

export class Talk {
  /**
   * `hooks` are told what happens: `begun(turn)`, `named(id)`, `found(turn)`, `piece(text, restart)`,
   * and `ended(turn)` with its state "done", "stopped" or "failed".
   */
  constructor(hooks) {
    this.hooks = hooks;
    this.clear();
  }

  get busy() {
    return this.current?.state === "asking";
  }

  /** Every response with citations, the latest first. */
  get responses() {
    return [this.current?.response, ...this.turns.map((turn) => turn.response).reverse()].filter(Boolean);
  }

  clear() {
    this.stop();
    Object.assign(this, { id: "", turns: [], current: null });
  }

  stop() {
    this.under?.abort();
    this.under = null;
  }

  /** Shows a conversation that the service keeps; its passages were not kept with it. */
  async open(id) {
    this.clear();
    this.id = id;
    const { turns } = await api.conversation(id);
    if (this.id !== id || this.current) return;
    this.turns = turns.map(({ question, ...response }) => ({ question, state: "done", response }));
  }

  /** Asks here; the first question begins the conversation. */
  async ask(body) {
    const before = this.current;
    if (this.busy) before.state = "stopped";
    this.stop();
    if (before && told(before)) this.turns.push(before);
    const mine = (this.under = new AbortController());
    const turn = (this.current = newTurn(body.query));
    this.hooks.begun(turn);
    try {
      if (!this.id) {
        const made = await api.beginConversation(mine.signal);
        if (turn !== this.current) return;
        this.id = made.id;
        this.hooks.named(made.id);
      }
      for await (const { event, data } of api.askStreaming({ ...body, conversation_id: this.id }, mine.signal)) {
        if (turn !== this.current) return;
        this.take(turn, event, data);
      }
    } catch (error) {
      turn.error = error;
      turn.state = error.name === "AbortError" ? "stopped" : "failed";
    }
    if (turn === this.current) this.hooks.ended(turn);
  }

  take(turn, event, data) {
    const { response } = turn;
    if (event === "stage") response.receipt.stages.push(data);
    else if (event === "results") {
      response.results = data;
      turn.foundMs = response.receipt.stages.reduce((sum, stage) => sum + stage.ms, 0);
      this.hooks.found(turn);
    } else if (event === "answer") {
      response.answer = data.restart ? data.text : response.answer + data.text;
      response.kind = data.kind;
      this.hooks.piece(data.text, data.restart);
    } else if (event === "done") {
      Object.assign(response, { answer: data.answer, kind: data.kind });
      response.receipt.degraded = data.degraded;
      turn.state = "done";
    } else if (event === "citations" || event === "flaws" || event === "usage") response[event] = data;
    if (event === "usage") response.model = data.model;
  }
}
