// The words of the inspection view, beside those of the rest of the page.

import { languages } from "./i18n.js";

Object.assign(languages.en, {
  "nav.inspect": "Inspect", "inspect.title": "Inspect",
  "inspect.intro": "Every point is one sentence with its vectors and its payload, as the engine stores it.",
  "inspect.filter": "Filter points", "inspect.doc": "Document id", "inspect.section": "Section begins with", "inspect.source": "Source",
  "inspect.apply": "Show", "inspect.clear": "Show all",
  "inspect.points": "Points", "inspect.count": "{n} of {total}", "inspect.more": "More points", "inspect.none": "No point matches.",
  "inspect.map": "Map", "inspect.drawn": "{n} of {total} points, drawn at random; the plane shows {share} of their variance.",
  "inspect.map_label": "Points as dots, near where their dense vectors are near; the list holds the same points",
  "inspect.map_none": "No point here has a dense vector.", "inspect.rest": "other documents", "inspect.drawing": "Drawing…",
  "inspect.point": "Point", "inspect.choose": "Choose a point in the list or on the map.",
  "inspect.open": "Open in document", "inspect.only": "Only this document", "inspect.copy": "Copy id",
  "inspect.around": "Neighbours", "inspect.terms": "Words of the sparse vector ({n})", "inspect.word": "Word",
  "inspect.weight": "Weight", "inspect.unknown": "dimension {n}", "inspect.no_terms": "It has no sparse vector: stop words only.",
  "inspect.dense": "Dense vector", "inspect.dense_is": "{n} numbers, beginning with {begin}",
  "inspect.no_dense": "None: the dense encoder does not know this script.", "inspect.payload": "Payload",
});

Object.assign(languages.zh, {
  "nav.inspect": "检视", "inspect.title": "检视",
  "inspect.intro": "每个点是一个句子，连同它的向量和载荷，与引擎中存储的一致。",
  "inspect.filter": "筛选点", "inspect.doc": "文档 id", "inspect.section": "章节开头为", "inspect.source": "来源",
  "inspect.apply": "显示", "inspect.clear": "全部显示",
  "inspect.points": "点", "inspect.count": "{n} / {total}", "inspect.more": "更多点", "inspect.none": "没有符合的点。",
  "inspect.map": "地图", "inspect.drawn": "随机抽取 {total} 个点中的 {n} 个；此平面呈现其方差的 {share}。",
  "inspect.map_label": "以圆点表示各点，稠密向量相近者彼此靠近；列表中有同样的点",
  "inspect.map_none": "这里没有带稠密向量的点。", "inspect.rest": "其他文档", "inspect.drawing": "绘制中…",
  "inspect.point": "点", "inspect.choose": "请在列表或地图中选择一个点。",
  "inspect.open": "在文档中打开", "inspect.only": "只看此文档", "inspect.copy": "复制 id",
  "inspect.around": "相邻句子", "inspect.terms": "稀疏向量的词（{n}）", "inspect.word": "词",
  "inspect.weight": "权重", "inspect.unknown": "维度 {n}", "inspect.no_terms": "没有稀疏向量：只有停用词。",
  "inspect.dense": "稠密向量", "inspect.dense_is": "{n} 个数，开头为 {begin}",
  "inspect.no_dense": "无：稠密编码器不识此文字。", "inspect.payload": "载荷",
});
