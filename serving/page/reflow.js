// Joining the lines of hard-wrapped paragraphs, so that text written for 70 columns fits any width.

const MIN_WIDTH = 50;
const MAX_WIDTH = 110;
const TABLE = /\t|\S {3,}\S|\|/; // Columns: every line end means something.
const BULLET = /^([-*+•·>#=~]|\(?\d{1,3}[.)]|[a-z][.)])\s/;

/**
 * `text` as an array with one item per code point, in which the line breaks inside
 * hard-wrapped paragraphs are spaces and the indents behind them empty strings: it
 * is sliced by the API's offsets as the text is.
 */
export function reflow(text) {
  const items = Array.from(text);
  let block = [];
  let from = 0;
  for (let at = 0; at <= items.length; at += 1) {
    if (at < items.length && items[at] !== "\n") continue;
    const line = items.slice(from, at).join("");
    if (line.trim() && !(block.length && BULLET.test(line.trimStart()))) block.push({ from, line, end: at });
    else {
      join(block, items);
      block = line.trim() ? [{ from, line, end: at }] : [];
    }
    from = at + 1;
  }
  join(block, items);
  return items;
}

/** A paragraph is hard-wrapped when no line could have taken the first word of the next. */
function join(block, items) {
  const width = Math.max(0, ...block.map(({ line }) => line.length));
  if (block.length < 2 || width < MIN_WIDTH || width > MAX_WIDTH || block.some(({ line }) => TABLE.test(line.trim()))) return;
  const indent = ({ line }) => line.length - line.trimStart().length;
  const wrapped = block.slice(0, -1).every((row, index) => {
    const next = block[index + 1];
    const word = next.line.trimStart().split(/\s/, 1)[0];
    const full = row.line.trimEnd().length + 1 + word.length > width;
    return (full || row.from === 0) && (index === 0 || indent(next) === indent(row));
  });
  if (!wrapped) return;
  for (const [index, row] of block.slice(0, -1).entries()) {
    const next = block[index + 1];
    const han = /\p{Script=Han}|[，。；：、]/u;
    const hyphen = items[row.end - 1] === "-" && /\p{L}/u.test(items[row.end - 2] ?? "");
    items[row.end] = hyphen || (han.test(items[row.end - 1]) && han.test(next.line.trimStart()[0])) ? "" : " ";
    items.fill("", next.from, next.from + indent(next));
  }
}
