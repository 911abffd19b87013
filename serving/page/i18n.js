// The page's words in English and Chinese; document text is never translated.

const en = {
  "skip": "Skip to content",
  "nav.label": "Views", "nav.ask": "Ask", "nav.collection": "Collection",
  "language.other": "中文", "language.label": "切换到中文",
  "keys.button": "Keys", "keys.title": "Keys", "keys.close": "Close",
  "keys.focus": "go to the question", "keys.ask": "ask", "keys.move": "next, previous passage",
  "keys.open": "open the passage in its document", "keys.why": "why this passage ranks here",
  "keys.cite": "open citation 1 to 9", "keys.esc": "close what is open", "keys.help": "show this list",
  "ask.label": "Question", "ask.placeholder": "Ask your documents", "ask.button": "Ask",
  "filter.toggle": "Filters", "filter.mode": "Find by", "filter.section": "Section begins with",
  "filter.source": "Source", "filter.top_n": "Passages", "filter.rerank": "Rerank", "filter.doc": "In",
  "filter.remove": "Remove filter: {name}", "filter.clear": "Remove all filters",
  "mode.hybrid": "both", "mode.dense": "meaning (dense)", "mode.sparse": "words (sparse)",
  "rerank.default": "as configured", "rerank.on": "on", "rerank.off": "off",
  "status.asking": "Searching…", "status.found": "{n} passages in {ms} ms", "status.one": "1 passage in {ms} ms",
  "status.none": "No passage found",
  "none.title": "No passage matches.", "none.filters": "The filters may leave nothing out of which to choose.",
  "none.hint": "Try other words, or look at what the collection holds.",
  "welcome.holds": "{documents} documents, {points} sentences. Every answer names its sources.",
  "welcome.empty": "Nothing is indexed yet.", "welcome.add": "Add documents",
  "welcome.cli": "or run python -m indexing with a folder.",
  "answer.title": "Answer", "answer.extractive": "Quoted from the documents (no language model configured)",
  "answer.generated": "Written by a language model from the passages below; check the citations",
  "answer.cite": "Citation {label}: {where}", "answer.sources": "Cited",
  "results.title": "Passages", "result.open": "Open in document", "result.why": "Why it ranks here",
  "result.more": "Show all", "result.cited": "Cited as {label}", "result.other": "also in 1 more file", "result.others": "also in {n} more files",
  "page": "p.\u00a0{n}", "score": "score", "join": ", ",
  "rank.dense": "dense", "rank.sparse": "sparse", "rank.fused": "fused", "rank.rerank": "reranked",
  "rank.at": "{side} {n}", "rank.absent": "not among its candidates", "rank.off": "not run",
  "why.both": "Found by meaning (dense, rank {dense}) and by words (sparse, rank {sparse}).",
  "why.dense": "Found by meaning (dense, rank {dense}); the sparse side did not have it among its candidates.",
  "why.sparse": "Found by words (sparse, rank {sparse}); the dense side did not have it among its candidates.",
  "why.fused": "Fusion put it at {n}.", "why.up": "The reranker moved it up from {a} to {b}.",
  "why.down": "The reranker moved it down from {a} to {b}.", "why.same": "The reranker left it at {b}.",
  "why.caption": "Rank and raw score at each stage",
  "why.stage": "Stage", "why.rank": "Rank", "why.score": "Score", "why.relative": "Among these results",
  "why.where": "characters {a}–{b}, point {id}",
  "receipt.title": "How it was found", "receipt.total": "{ms} ms in {n} stages",
  "stage.embed": "encode the question", "stage.retrieve": "find candidates", "stage.fuse": "fuse the two sides",
  "stage.windows": "build windows", "stage.rerank": "rerank", "stage.answer": "pick the answer",
  "degraded": "Not everything went as asked:",
  "reader.close": "Close", "reader.copy": "Copy citation", "reader.link": "Copy link", "reader.copied": "Copied",
  "reader.failed": "The browser did not allow copying",
  "reader.quote": "To the quote", "reader.earlier": "Earlier text", "reader.later": "Later text",
  "reader.span": "characters {a}–{b} of {n}", "reader.loading": "Opening…", "reader.begin": "Beginning of the document",
  "reader.finish": "End of the document", "reader.text": "Document text",
  "reader.changed": "The document has changed since this answer; the marked text is what stands there now.",
  "collection.title": "Collection", "collection.documents": "Documents", "collection.sentences": "Sentences",
  "collection.disk": "On disk", "collection.graph": "Vector graph", "collection.dense": "Dense encoder",
  "collection.sparse": "Sparse encoder", "collection.optimizing": "building", "collection.exact": "none: searched exactly",
  "collection.sections": "Sections ({n})", "collection.show_all": "Show all {n}", "collection.section_ask": "Ask only in {name}",
  "upload.title": "Add documents", "upload.drop": "Drop files here, or", "upload.choose": "choose files",
  "upload.sending": "Sending {n} files: {share}", "upload.formats": "Text, Markdown, HTML, PDF, Word, PowerPoint, Excel, CSV, JSON lines, EPUB, e-mail",
  "jobs.title": "Indexing jobs", "job.queued": "waiting", "job.running": "indexing", "job.succeeded": "done",
  "job.failed": "failed", "job.partial": "done, with errors", "job.files": "{done} of {total} files, {sentences} sentences",
  "job.errors": "{n} not read",
  "docs.filter": "Filter by title or source", "docs.title": "Title", "docs.type": "Type", "docs.sentences": "Sentences",
  "docs.chars": "Characters", "docs.indexed": "Indexed", "docs.actions": "Actions", "docs.delete": "Delete",
  "docs.ask": "Ask in it", "docs.more": "More documents", "docs.shown": "{n} of {total}", "docs.none": "No loaded document matches.",
  "delete.title": "Delete this document?", "delete.text": "“{title}” and its {n} sentences leave the index. The file itself stays where it is.",
  "delete.yes": "Delete", "delete.no": "Keep",
  "error.network": "No answer from {host}. Is the service running? Start it with python -m serving.",
  "error.busy": "The service is busy.", "error.slow": "It took longer than the service allows. Try again, or ask for fewer passages.",
  "error.unavailable": "The service cannot answer now: {message}.", "error.wait": "Trying again in {n} s.", "error.retry": "Try again",
  "error.notfound": "It is not in the index (any more).", "error.said": "The service refused: {message}",
  "error.internal": "The service failed: {message}. Its log says more.", "error.large": "These files are larger than the service accepts. {message}",
  "error.auth": "The service asks for permission: {message}",
  "key.button": "API key", "key.title": "API key", "key.label": "Key", "key.use": "Use this key", "key.later": "Not now",
  "key.forget": "Forget it", "key.wanted": "This service asks for an API key.", "key.held": "This tab sends a key with every request.",
  "key.refused": "The key was not accepted and has been forgotten: {message}", "key.unusable": "A key is one word of letters, digits and signs.",
  "key.note": "It is kept in this tab until you close it, and sent to this service alone.",
  "ask.stop": "Stop", "ask.followup": "Ask a follow-up",
  "status.writing": "{n} passages in {ms} ms; writing the answer…", "status.direct": "Answered without searching",
  "status.stopped": "Stopped", "answer.quoted": "Quoted from the documents",
  "answer.uncited": "Written by a language model; no passage is cited",
  "answer.none": "The passages below do not answer it, as far as the language model can tell",
  "answer.stopped": "Stopped before its end; not checked and not kept in the conversation",
  "flaw.unsupported": "not supported by its source", "flaw.no_label": "no source given",
  "flaw.quote": "these words are not in the documents", "flaw.label": "named a passage that does not exist: {text}",
  "flaw.other": "does not hold",
  "flaw.one": "One place did not pass the check; it is underlined. The check compares words, not meaning.",
  "flaw.many": "{n} places did not pass the check; they are underlined. The check compares words, not meaning.",
  "usage.prompt": "{n} tokens read", "usage.cached": "{n} tokens read, {cached} of them from the cache",
  "usage.written": "{n} written", "usage.first": "first after {ms} ms", "usage.rate": "{n} tokens/s",
  "route.retrieve": "to be searched for", "route.answer": "to be answered without a search",
  "route.ask": "to be asked back", "why.reranker": "Reranker: {model}.", "why.aside": "It stepped aside: {what}.",
  "why.unranked": "No reranking: {reason}.", "aside.query": "it cannot read the question’s script",
  "aside.passages": "it cannot read the script of {n} passages", "stage.cache": "take the kept answer",
  "stage.rewrite": "complete the question", "stage.classify": "decide how to answer", "stage.hyde": "imagine an answer",
  "stage.multi_query": "paraphrase", "stage.decompose": "split into parts", "stage.pack": "pack the prompt",
  "stage.group": "read a group of passages", "stage.generate": "write the answer",
  "stage.check": "check the answer", "option.legend": "Answer",
  "option.quote": "quote only", "option.rewrite": "complete follow-up questions",
  "option.classify": "may answer without searching", "option.hyde": "search for an imagined answer too",
  "option.multi_query": "search for paraphrases too", "option.decompose": "search for its parts too",
  "option.response_mode": "Written", "option.off": "not: {name}", "response_mode.compact": "in one go",
  "response_mode.refine": "refined passage by passage", "response_mode.tree_summarize": "summarised in a tree",
  "talk.new": "New conversation", "talk.list": "Conversations", "talk.earlier": "Earlier in this conversation",
  "talk.passage": "1 passage", "talk.passages": "{n} passages", "talk.none": "None yet.", "talk.question": "1 question", "talk.questions": "{n} questions",
  "talk.delete_one": "Delete the conversation “{title}”", "talk.delete_title": "Delete this conversation?",
  "talk.delete_text": "“{title}” and its answers are deleted.",
  "talk.gone": "This conversation has been deleted, or is too old to be kept.",
  "error.broken": "The connection broke before the answer was complete.",
};

const zh = {
  "skip": "跳到正文",
  "nav.label": "视图", "nav.ask": "提问", "nav.collection": "文档库",
  "language.other": "English", "language.label": "Switch to English",
  "keys.button": "快捷键", "keys.title": "快捷键", "keys.close": "关闭",
  "keys.focus": "转到提问框", "keys.ask": "提问", "keys.move": "下一段、上一段",
  "keys.open": "在原文中打开该段", "keys.why": "该段为何排在这里",
  "keys.cite": "打开第 1 至 9 条引用", "keys.esc": "关闭当前面板", "keys.help": "显示本列表",
  "ask.label": "问题", "ask.placeholder": "向你的文档提问", "ask.button": "提问",
  "filter.toggle": "筛选", "filter.mode": "检索方式", "filter.section": "章节开头",
  "filter.source": "来源", "filter.top_n": "段落数", "filter.rerank": "重排", "filter.doc": "限于",
  "filter.remove": "移除筛选：{name}", "filter.clear": "移除全部筛选",
  "mode.hybrid": "两者", "mode.dense": "语义（稠密）", "mode.sparse": "词语（稀疏）",
  "rerank.default": "按配置", "rerank.on": "开", "rerank.off": "关",
  "status.asking": "正在检索…", "status.found": "{n} 段，用时 {ms} 毫秒", "status.one": "1 段，用时 {ms} 毫秒",
  "status.none": "没有找到段落",
  "none.title": "没有匹配的段落。", "none.filters": "筛选条件可能排除了全部内容。",
  "none.hint": "请换一种说法，或查看文档库里有什么。",
  "welcome.holds": "共 {documents} 篇文档、{points} 个句子。每个回答都注明出处。",
  "welcome.empty": "还没有索引任何文档。", "welcome.add": "添加文档",
  "welcome.cli": "或运行 python -m indexing 并指定文件夹。",
  "answer.title": "回答", "answer.extractive": "摘自文档原文（未配置语言模型）",
  "answer.generated": "由语言模型根据下列段落写成，请核对引用",
  "answer.cite": "引用 {label}：{where}", "answer.sources": "引用出处",
  "results.title": "段落", "result.open": "在原文中打开", "result.why": "为何排在这里",
  "result.more": "显示全部", "result.cited": "引用 {label}", "result.other": "另见于 1 个文件", "result.others": "另见于 {n} 个文件",
  "page": "第\u00a0{n}\u00a0页", "score": "得分", "join": "，",
  "rank.dense": "稠密", "rank.sparse": "稀疏", "rank.fused": "融合", "rank.rerank": "重排",
  "rank.at": "{side} {n}", "rank.absent": "不在其候选中", "rank.off": "未运行",
  "why.both": "语义（稠密，第 {dense} 位）与词语（稀疏，第 {sparse} 位）都找到了它。",
  "why.dense": "由语义找到（稠密，第 {dense} 位）；稀疏一侧的候选中没有它。",
  "why.sparse": "由词语找到（稀疏，第 {sparse} 位）；稠密一侧的候选中没有它。",
  "why.fused": "融合后排第 {n} 位。", "why.up": "重排把它从第 {a} 位提到第 {b} 位。",
  "why.down": "重排把它从第 {a} 位降到第 {b} 位。", "why.same": "重排后仍为第 {b} 位。",
  "why.caption": "各阶段的名次与原始得分",
  "why.stage": "阶段", "why.rank": "名次", "why.score": "得分", "why.relative": "与本页结果相比",
  "why.where": "字符 {a}–{b}，编号 {id}",
  "receipt.title": "检索过程", "receipt.total": "{n} 个阶段，共 {ms} 毫秒",
  "stage.embed": "编码问题", "stage.retrieve": "检索候选", "stage.fuse": "融合两侧",
  "stage.windows": "拼接上下文", "stage.rerank": "重排", "stage.answer": "选取回答",
  "degraded": "有些步骤未按要求完成：",
  "reader.close": "关闭", "reader.copy": "复制引用", "reader.link": "复制链接", "reader.copied": "已复制",
  "reader.failed": "浏览器不允许复制",
  "reader.quote": "回到引文", "reader.earlier": "前文", "reader.later": "后文",
  "reader.span": "字符 {a}–{b}，共 {n}", "reader.loading": "正在打开…", "reader.begin": "文档开头",
  "reader.finish": "文档结尾", "reader.text": "文档正文",
  "reader.changed": "文档在回答之后有改动；标出的是该处现在的文字。",
  "collection.title": "文档库", "collection.documents": "文档", "collection.sentences": "句子",
  "collection.disk": "磁盘占用", "collection.graph": "向量图", "collection.dense": "稠密编码器",
  "collection.sparse": "稀疏编码器", "collection.optimizing": "构建中", "collection.exact": "无：精确检索",
  "collection.sections": "章节（{n}）", "collection.show_all": "显示全部 {n} 项", "collection.section_ask": "只在“{name}”中提问",
  "upload.title": "添加文档", "upload.drop": "把文件拖到这里，或", "upload.choose": "选择文件",
  "upload.sending": "正在发送 {n} 个文件：{share}", "upload.formats": "文本、Markdown、HTML、PDF、Word、PowerPoint、Excel、CSV、JSON lines、EPUB、电子邮件",
  "jobs.title": "索引任务", "job.queued": "等待中", "job.running": "索引中", "job.succeeded": "完成",
  "job.failed": "失败", "job.partial": "完成，但有错误", "job.files": "{total} 个文件中的 {done} 个，{sentences} 个句子",
  "job.errors": "{n} 个未能读取",
  "docs.filter": "按标题或来源筛选", "docs.title": "标题", "docs.type": "类型", "docs.sentences": "句子",
  "docs.chars": "字符", "docs.indexed": "索引时间", "docs.actions": "操作", "docs.delete": "删除",
  "docs.ask": "在其中提问", "docs.more": "更多文档", "docs.shown": "{n} / {total}", "docs.none": "已载入的文档中没有匹配项。",
  "delete.title": "删除这篇文档？", "delete.text": "“{title}”及其 {n} 个句子将移出索引。文件本身不会被删除。",
  "delete.yes": "删除", "delete.no": "保留",
  "error.network": "{host} 没有应答。服务在运行吗？用 python -m serving 启动它。",
  "error.busy": "服务正忙。", "error.slow": "超过了服务允许的时间。请重试，或减少段落数。",
  "error.unavailable": "服务现在无法应答：{message}。", "error.wait": "{n} 秒后重试。", "error.retry": "重试",
  "error.notfound": "索引中（已）没有它。", "error.said": "服务拒绝了请求：{message}",
  "error.internal": "服务出错：{message}。详情见其日志。", "error.large": "文件超过了服务允许的大小。{message}",
  "error.auth": "服务要求权限：{message}",
  "key.button": "API 密钥", "key.title": "API 密钥", "key.label": "密钥", "key.use": "使用此密钥", "key.later": "暂不",
  "key.forget": "忘记它", "key.wanted": "此服务需要 API 密钥。", "key.held": "此标签页的每个请求都带着密钥。",
  "key.refused": "密钥未被接受，已忘记：{message}", "key.unusable": "密钥是一串没有空格的字母、数字和符号。",
  "key.note": "密钥只保存在此标签页中，关闭即清除，且只发送给此服务。",
  "ask.stop": "停止", "ask.followup": "继续提问", "status.writing": "{n} 段，用时 {ms} 毫秒；正在写回答…", "status.direct": "未检索，直接回答",
  "status.stopped": "已停止", "answer.quoted": "摘自文档原文", "answer.uncited": "由语言模型写成，没有引用任何段落",
  "answer.none": "语言模型认为下列段落不能回答这个问题", "answer.stopped": "回答中途停止；未经核对，也不会保存在对话中", "flaw.unsupported": "出处不支持这一句",
  "flaw.no_label": "未注明出处", "flaw.quote": "文档中没有这段引文", "flaw.label": "引用了不存在的段落：{text}", "flaw.other": "有疑问",
  "flaw.one": "有一处未通过核对，已用下划线标出。核对比较的是词语，而非含义。", "flaw.many": "有 {n} 处未通过核对，已用下划线标出。核对比较的是词语，而非含义。",
  "usage.prompt": "读入 {n} 个词元", "usage.cached": "读入 {n} 个词元，其中 {cached} 个来自缓存", "usage.written": "写出 {n} 个",
  "usage.first": "首个词元用时 {ms} 毫秒", "usage.rate": "每秒 {n} 个词元", "route.retrieve": "需要检索", "route.answer": "无需检索即可回答",
  "route.ask": "需要反问", "why.reranker": "重排模型：{model}。", "why.aside": "它让开了：{what}。", "why.unranked": "未重排：{reason}。",
  "aside.query": "它读不懂问题的文字", "aside.passages": "有 {n} 段的文字它读不懂", "stage.cache": "取用已存的回答", "stage.rewrite": "补全问题",
  "stage.classify": "判断如何回答", "stage.hyde": "设想一个回答", "stage.multi_query": "换种说法", "stage.decompose": "拆分问题",
  "stage.pack": "组织提示", "stage.group": "阅读一组段落", "stage.generate": "写回答", "stage.check": "核对回答",
  "option.legend": "回答", "option.quote": "只摘引原文",
  "option.rewrite": "补全追问", "option.classify": "可不检索直接回答", "option.hyde": "同时检索设想的回答", "option.multi_query": "同时检索其他说法",
  "option.decompose": "同时检索问题的各部分", "option.response_mode": "写法", "option.off": "不用：{name}",
  "response_mode.compact": "一次写成", "response_mode.refine": "逐段修订", "response_mode.tree_summarize": "分层汇总",
  "talk.new": "新对话", "talk.list": "对话", "talk.earlier": "本次对话的前文", "talk.passage": "1 个段落", "talk.passages": "{n} 个段落", "talk.none": "还没有。", "talk.question": "1 个问题",
  "talk.questions": "{n} 个问题", "talk.delete_one": "删除对话“{title}”", "talk.delete_title": "删除这个对话？",
  "talk.delete_text": "“{title}”及其回答将被删除。", "talk.gone": "这个对话已被删除，或因太久未用而未保留。", "error.broken": "回答未完成，连接就中断了。",
};

export const languages = { en, zh };
const STORED = "winnow.language";

function preferred() {
  try {
    const stored = localStorage.getItem(STORED);
    if (stored in languages) return stored;
  } catch {
    // Storage may be blocked; the browser's language still counts.
  }
  return (navigator.languages?.[0] ?? navigator.language ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";
}

let current = preferred();
export const lang = () => current;

/** The text of `key` with `{name}` replaced; numbers are formatted for the language. */
export function t(key, values = {}) {
  const text = languages[current][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : (value ?? whole);
  });
}

export const has = (key) => key in languages.en;
const locale = () => (current === "zh" ? "zh-CN" : "en");
export const number = (value, options = {}) => new Intl.NumberFormat(locale(), options).format(value);
export const share = (value) => number(value, { style: "percent", maximumFractionDigits: 0 });
export const score = (value) => number(value, { minimumSignificantDigits: 3, maximumSignificantDigits: 4 });
export const ms = (value) => (value > 0 && value < 0.05 ? "<" : "") + number(value > 0 ? Math.max(value, 0.1) : 0, { maximumFractionDigits: value < 10 ? 1 : 0 });

export function bytes(value) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = value > 0 ? Math.min(units.length - 1, Math.floor(Math.log10(value) / 3)) : 0;
  return number(value / 1000 ** step, { style: "unit", unit: units[step], maximumFractionDigits: step ? 1 : 0 });
}

export function moment(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso ?? "";
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(date);
}

/** Writes the words of the current language into every marked element of the page. */
export function translate() {
  document.documentElement.lang = current === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
  for (const element of document.querySelectorAll("[data-i18n-placeholder]")) {
    element.placeholder = t(element.dataset.i18nPlaceholder);
  }
}

export function toggle() {
  current = current === "en" ? "zh" : "en";
  try {
    localStorage.setItem(STORED, current);
  } catch {
    // Not remembered, then.
  }
}
