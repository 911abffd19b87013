// One conversation: its questions and answers, and the answer that is being written.

import * as api from "./api.js";

const newTurn = (question) => ({
  question, state: "asking", error: null, foundMs: 0,
  response: { answer: "", kind: "generated", citations: [], flaws: [], results: null, usage: null, model: null,
    receipt: { stages: [], degraded: [] } },
});

/** A turn as the service kept it; one of an earlier version has no evidence. An answer without a search has no passages. */
const keptTurn = ({ question, evidence, ...response }) => ({
  ...newTurn(question), state: "done", kept: true,
  response: { ...newTurn(question).response, ...response, ...evidence, results: evidence?.results.length ? evidence.results : null },
});

/** What came of an answer is worth showing. */
const told = (turn) => turn.state === "done" || Boolean(turn.response.answer);

export class Talk {
  /**
   * `hooks` are told what happens: `begun(turn)`, `named(id)`, `found(turn)`, `labelled(passages)`, `piece(text, restart)`,
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

  /** Shows a conversation that the service keeps: its last turn as it was when it was written. */
  async open(id) {
    this.clear();
    this.id = id;
    const { turns } = await api.conversation(id);
    if (this.id !== id || this.current) return;
    this.turns = turns.map(keptTurn);
    this.current = this.turns.pop() ?? null;
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
        const made = await this.begin(mine.signal);
        if (turn !== this.current) return;
        if (made) {
          this.id = made;
          this.hooks.named(made);
        }
      }
      const kept = this.id ? { conversation_id: this.id } : {};
      for await (const { event, data } of api.askStreaming({ ...body, ...kept }, mine.signal)) {
        if (turn !== this.current) return;
        this.take(turn, event, data);
      }
    } catch (error) {
      turn.error = error;
      turn.state = error.name === "AbortError" ? "stopped" : "failed";
    }
    if (turn === this.current) this.hooks.ended(turn);
  }

  /** The new conversation's id, or "" for a caller who may ask and not write. */
  async begin(signal) {
    try {
      return (await api.beginConversation(signal)).id;
    } catch (error) {
      if (error.status === 403) return "";
      throw error;
    }
  }

  take(turn, event, data) {
    const { response } = turn;
    if (event === "stage") response.receipt.stages.push(data);
    else if (event === "results") {
      response.results = data;
      turn.foundMs = response.receipt.stages.reduce((sum, stage) => sum + stage.ms, 0);
      this.hooks.found(turn);
    } else if (event === "passages") this.hooks.labelled(data);
    else if (event === "answer") {
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
