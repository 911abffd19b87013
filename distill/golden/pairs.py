"""Golden pairs, English and Chinese, written for this gate.

Each query has a relevant passage and a hard one: the same topic, or the same
words, and no answer.  In half of them the relevant passage is the shorter
one.  Two (``library``, ``probation``) share fewer words with the relevant
passage than with the hard one.  The other irrelevant passages of a query are
the relevant ones of its neighbours, so a score that does not look at the
query gets no more than half of those pairs right.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

from distill.records import Passage, Query


@dataclass(frozen=True, slots=True)
class GoldenQuery:
    """One query with a passage that answers it and one that seems to."""

    name: str
    language: str
    query: str
    relevant: str
    hard: str


GOLDEN: tuple[GoldenQuery, ...] = (
    GoldenQuery(
        "rice",
        "en",
        "how long can cooked rice be kept in the fridge",
        "Cooked rice can be kept in the fridge for three to four days if it is cooled quickly and covered.",
        "To cook rice on the stove, rinse it, add twice its volume of water and let it simmer under a lid; "
        "leave the pot for ten minutes before serving, and put what was opened of the stock in the fridge.",
    ),
    GoldenQuery(
        "underground",
        "en",
        "what year did the first underground railway open",
        "London's Metropolitan Railway, the first underground railway in the world, opened in the year 1863 "
        "between Paddington and Farringdon; its carriages were lit by gas and drawn by steam locomotives.",
        "The railway museum is open all year; children enjoy the model underground.",
    ),
    GoldenQuery(
        "aspirin",
        "en",
        "does aspirin thin the blood",
        "Aspirin keeps platelets from sticking together. That is why people say that it thins the blood, "
        "and why a surgeon asks for it to be stopped a week before an operation.",
        "Aspirin was first made in a laboratory in 1897 and is sold as a tablet in most countries.",
    ),
    GoldenQuery(
        "router",
        "en",
        "how to reset a router to factory settings",
        "Hold the small button on the back of the router for ten seconds to reset it to factory settings.",
        "The router has a page that lists the connected devices, how much each of them sends and receives, "
        "and whether newer software than the one it was sold with has been installed on it.",
    ),
    GoldenQuery(
        "sea",
        "en",
        "why is the sea salty",
        "Rain wears down rocks and rivers carry the dissolved minerals to the sea. Water evaporates and the "
        "salt stays behind, which is why the sea has become salty over millions of years.",
        "The Salty Sea, a restaurant on the harbour, changes its menu every day.",
    ),
    GoldenQuery(
        "library",
        "en",
        "what is the penalty for returning a library book late",
        "Overdue items cost 20 cents a day, up to five euros each; after six weeks they count as lost.",
        "The library is open late on Thursdays, what is borrowed is due after four weeks, and returning a "
        "book is possible at any branch: put it into the box beside the door, day or night.",
    ),
    GoldenQuery(
        "horses",
        "en",
        "which animals sleep while standing",
        "Horses, cows and other grazing animals can sleep while standing: tendons lock their legs.",
        "Standing desks are popular with people who sit all day, although the studies of them are small and "
        "few have looked at how those who use one feel in the evening or rest at night.",
    ),
    GoldenQuery(
        "contract",
        "en",
        "who can sign a contract for a company",
        "A director can sign a contract for the company, and so can anybody whom a director has authorised "
        "in writing; a signature of somebody else does not bind it until a director confirms it.",
        "The contract has twelve pages, and the company's name is on each.",
    ),
    GoldenQuery(
        "honey",
        "zh",
        "蜂蜜为什么不容易变质",
        "蜂蜜含糖量高、水分很少，细菌难以繁殖，所以不容易变质，密封好可以存放多年。",
        "蜂蜜可以涂在面包上，也可以加进温水里喝，颜色深浅和花的种类有关，味道也各不相同，买的时候要看清楚标签上写的产地和日期。",
    ),
    GoldenQuery(
        "passport",
        "zh",
        "护照丢了怎么补办",
        "护照丢了以后，先向公安机关报失，再带上身份证和照片到出入境管理部门补办，一般七个工作日可以领取新护照。",
        "护照的封面是深红色的，里面印着持有人的照片。",
    ),
    GoldenQuery(
        "train",
        "zh",
        "高铁上能带宠物吗",
        "乘坐高铁时宠物不能带上车，要提前办理托运。",
        "高铁车厢里有小桌板和插座，乘客可以用手机订餐，到站后会有人送到座位上，吃完的垃圾请放进车厢两头的垃圾桶里。",
    ),
    GoldenQuery(
        "tea",
        "zh",
        "茶叶里有没有咖啡因",
        "茶叶里有咖啡因，含量随品种和泡法不同：一杯红茶大约四十毫克，绿茶稍少一些，泡得越久溶出来的越多，晚上睡不好的人最好别喝浓茶。",
        "茶叶应当放在阴凉干燥的地方，不要和咖啡放在一起。",
    ),
    GoldenQuery(
        "moon",
        "zh",
        "月亮为什么有圆有缺",
        "月亮本身不发光，我们看到的是它被太阳照亮的部分；它绕着地球转，照亮的一面朝向我们的角度一直在变，所以看起来有圆有缺。",
        "中秋节晚上大家一起看月亮，吃各种口味的月饼。",
    ),
    GoldenQuery(
        "probation",
        "zh",
        "员工试用期最长多久",
        "劳动合同期限三年以上的，试用期不得超过六个月。",
        "新员工在试用期里要参加培训，多久培训一次由部门决定，最长的一次是三天，费用由公司承担，培训结束以后要交一份书面总结。",
    ),
)


@dataclass(frozen=True, slots=True)
class TailPair:
    """Two long passages that differ in their last sentence alone."""

    query: Query
    language: str
    relevant: Passage
    other: Passage


_FILLER = {
    "en": (
        "The harbour lies in a bay that is sheltered by two low hills.",
        "Fishing boats are painted in the colours of the families that own them.",
        "Behind the quay there is a row of houses with narrow windows.",
        "A bakery and a shop for ropes and nets stand side by side.",
        "In summer visitors sit on the wall and look at the water.",
        "The old crane is no longer used and rusts in the salt air.",
        "Gulls wait on the roofs for what the fishermen throw away.",
        "A path leads along the shore to a chapel built of grey stone.",
        "The chapel has a bell that was cast in the next village.",
        "Most of the gardens have apple trees and a bench under them.",
    ),
    "zh": (
        "这座小城靠着海湾，两边是不高的山。",
        "渔船涂着各家自己喜欢的颜色。",
        "码头后面有一排窄窗的老房子。",
        "面包店和卖绳子渔网的铺子挨在一起。",
        "夏天游客坐在石墙上看海。",
        "旧吊车早已不用，在海风里生了锈。",
        "海鸥停在屋顶上等着渔民扔下的东西。",
        "一条小路沿着海边通到石头砌的教堂。",
        "院子里大多种着苹果树，树下放着长凳。",
    ),
}
_TAILS = (
    (
        "en",
        "when does the evening ferry leave",
        "The evening ferry leaves at twenty past seven.",
        "The waiting room was given new walls last spring.",
    ),
    ("zh", "夜班渡轮几点开", "夜班渡轮七点二十分开。", "候船室去年春天重新刷了墙。"),
)


def passages_of(number: int) -> tuple[Passage, ...]:
    """The four passages of golden query ``number``: relevant, hard, and two that answer neighbours."""
    one = GOLDEN[number]
    same = [other for other in GOLDEN if other.language == one.language]
    place = same.index(one)
    before, after = same[place - 1], same[(place + 1) % len(same)]
    return (
        Passage(one.name, one.relevant),
        Passage(f"{one.name}-hard", one.hard),
        Passage(before.name, before.relevant),
        Passage(after.name, after.relevant),
    )


def tail_pairs(words: int) -> tuple[TailPair, ...]:
    """The pairs whose answer stands after ``words`` words; a Chinese character is a word."""
    pairs = []
    for language, query, answer, other in _TAILS:
        filler = _filler(language, words)
        gap = "" if language == "zh" else " "
        pairs.append(
            TailPair(
                Query(f"tail-{language}", query),
                language,
                Passage(f"tail-{language}", f"{filler}{gap}{answer}"),
                Passage(f"tail-{language}-other", f"{filler}{gap}{other}"),
            )
        )
    return tuple(pairs)


def _filler(language: str, words: int) -> str:
    sentences: list[str] = []
    count = 0
    for sentence in cycle(_FILLER[language]):
        if count >= words:
            break
        sentences.append(sentence)
        count += len(sentence) if language == "zh" else len(sentence.split())
    return ("" if language == "zh" else " ").join(sentences)
