"""The words of a report, in English and in Chinese."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

LABELS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Before and after",
        "verdict": "{measure} {before:.3f} → {after:.3f} ({difference:+.3f}, {relative}), 95% CI "
        "{low:+.3f} to {high:+.3f}, p {p} after Holm: {judgement}.",
        "better": "better",
        "worse": "worse",
        "unclear": "no difference that this many queries can show",
        "identical": "no change at all",
        "in_domain": "In domain",
        "out_of_domain": "Out of domain",
        "none_in": "No set of the domain was given: `--data DIR`, `--candidates FILE --qrels FILE` or "
        "`--mteb FILE`.",
        "none_out": "No set from outside the domain was given: `--out-of-domain DIR`.",
        "set": "{name} ({checksum}): {queries} queries, {candidates:.0f} candidates a query, first stage: "
        "{stage}; {recall:.1%} of the relevant passages are in the pools.",
        "changes": "Change",
        "measure": "measure",
        "before": "before",
        "after": "after",
        "difference": "change",
        "relative": "relative",
        "interval": "95% CI of the change",
        "p": "p",
        "p_holm": "p (Holm)",
        "wins": "wins / ties / losses",
        "rows": "All rows",
        "name": "name",
        "model": "model",
        "kind": "kind",
        "pairs_per_second": "pairs/s",
        "truncated": "cut pairs",
        "aside": "queries stepped aside",
        "versus": "{measure} of `after` against each other row",
        "groups": "By {key} ({measure})",
        "queries": "queries",
        "most_changed": "Queries that changed most ({measure})",
        "query": "query",
        "unanswered": "{name} returned nothing for {count} queries; they count 0.",
        "how": "How it was measured",
        "method": "Both sides rank the same pool of every query; a relevant passage that the first stage "
        "missed counts against both. Ties: score descending, then doc_id ascending. NDCG takes the grades as "
        "linear gains; for MAP and MRR a passage is relevant from grade {relevant}. A query without results "
        "counts 0. Intervals: paired bootstrap (BCa, 9,999 resamples). p: paired randomisation, two-sided, "
        "10,000 rounds, Holm over the measures of a set (over the rows in the last table). Pairs/s: wall "
        "clock, all systems turn by turn on every query, in one run, after one untimed query each. Values: "
        "ir-measures.",
        "command": "Command",
        "commit": "commit",
        "machine": "machine",
        "seed": "seed",
        "threads": "threads",
        "automatic": "automatic",
        "cores": "cores",
        "plot_rows": "Mean over {count} queries",
        "plot_queries": "{measure}, after - before, each query",
    },
    "zh": {
        "title": "前后对比",
        "verdict": "{measure} {before:.3f} → {after:.3f}（{difference:+.3f}，{relative}），95% 置信区间 "
        "{low:+.3f} 到 {high:+.3f}，Holm 校正后 p {p}：{judgement}。",
        "better": "变好",
        "worse": "变差",
        "unclear": "这么多查询看不出差别",
        "identical": "没有任何变化",
        "in_domain": "领域内",
        "out_of_domain": "领域外",
        "none_in": "没有给出领域内的集合：`--data DIR`、`--candidates FILE --qrels FILE` 或 `--mteb FILE`。",
        "none_out": "没有给出领域外的集合：`--out-of-domain DIR`。",
        "set": "{name}（{checksum}）：{queries} 个查询，每个查询 {candidates:.0f} 个候选，第一阶段：{stage}；"
        "{recall:.1%} 的相关段落在候选池里。",
        "changes": "变化",
        "measure": "指标",
        "before": "之前",
        "after": "之后",
        "difference": "变化",
        "relative": "相对变化",
        "interval": "变化的 95% 置信区间",
        "p": "p",
        "p_holm": "p（Holm）",
        "wins": "胜 / 平 / 负",
        "rows": "所有行",
        "name": "名称",
        "model": "模型",
        "kind": "类型",
        "pairs_per_second": "对/秒",
        "truncated": "被截断的对",
        "aside": "让开的查询",
        "versus": "`after` 与其他各行相比的 {measure}",
        "groups": "按 {key} 分组（{measure}）",
        "queries": "查询数",
        "most_changed": "变化最大的查询（{measure}）",
        "query": "查询",
        "unanswered": "{name} 对 {count} 个查询没有返回结果，按 0 计。",
        "how": "测量方法",
        "method": "两边给每个查询排的是同一个候选池；第一阶段漏掉的相关段落两边都要扣分。"
        "并列：先按分数从高到低，再按 doc_id 从小到大。NDCG 用等级作线性增益；"
        "MAP 和 MRR 中等级不低于 {relevant} 为相关。没有结果的查询按 0 计。"
        "置信区间：配对自助法（BCa，9,999 次重采样）。p：配对随机化检验，双侧，10,000 轮，"
        "在同一集合的各指标之间做 Holm 校正（最后一张表在各行之间）。"
        "对/秒：墙钟时间，一次运行中所有系统在每个查询上轮流进行，各先预热一个查询。"
        "数值来自 ir-measures。",
        "command": "命令",
        "commit": "提交",
        "machine": "机器",
        "seed": "随机种子",
        "threads": "线程",
        "automatic": "自动",
        "cores": "核",
        "plot_rows": "{count} 个查询的平均值",
        "plot_queries": "每个查询的 {measure}：之后 - 之前",
    },
}
