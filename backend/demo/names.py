"""Names for the demo town: Chinese with an English form beside each, put together from syllables that sound like the
region. Nothing is taken from a register of real places or people; a likeness is chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Name:
    """A name that people read, in both languages."""

    zh: str
    en: str

    def as_json(self) -> dict[str, str]:
        """The form of ``design.md`` rule 21."""
        return {"zh-CN": self.zh, "en": self.en}


TOWN = Name("云泾镇", "Yunjing Town")
RIVER = Name("云泾", "Yunjing River")

_ROAD_FIRST = {
    "明": "ming", "新": "xin", "春": "chun", "锦": "jin", "荣": "rong", "申": "shen", "青": "qing", "浦": "pu",
    "华": "hua", "文": "wen", "育": "yu", "清": "qing", "莲": "lian", "梅": "mei", "兰": "lan", "桂": "gui",
    "枫": "feng", "银": "yin", "金": "jin", "玉": "yu", "景": "jing", "泽": "ze", "润": "run", "瑞": "rui",
    "康": "kang", "安": "an", "顺": "shun", "丰": "feng", "盛": "sheng", "茂": "mao", "通": "tong", "广": "guang",
    "富": "fu", "建": "jian", "联": "lian", "沁": "qin", "涵": "han", "澄": "cheng", "霞": "xia", "望": "wang",
}  # fmt: skip
_ROAD_SECOND = {
    "涛": "tao", "阳": "yang", "塘": "tang", "林": "lin", "泉": "quan", "宁": "ning", "亭": "ting", "溪": "xi",
    "桥": "qiao", "庭": "ting", "中": "zhong", "松": "song", "园": "yuan", "和": "he", "业": "ye", "港": "gang",
    "秀": "xiu", "川": "chuan", "峰": "feng", "岚": "lan", "月": "yue", "平": "ping", "达": "da", "波": "bo",
    "潭": "tan", "坊": "fang", "湖": "hu", "汀": "ting", "星": "xing", "苑": "yuan",
}  # fmt: skip
_HOME_FIRST = {
    "锦": "jin", "翠": "cui", "绿": "lü", "碧": "bi", "香": "xiang", "紫": "zi", "丽": "li", "雅": "ya", "逸": "yi",
    "枫": "feng", "樱": "ying", "玫": "mei", "沁": "qin", "云": "yun", "月": "yue", "晨": "chen", "瑞": "rui",
    "嘉": "jia", "祥": "xiang", "惠": "hui", "福": "fu", "怡": "yi", "润": "run", "虹": "hong", "颐": "yi",
    "天": "tian", "海": "hai", "汇": "hui", "御": "yu", "明": "ming",
}  # fmt: skip
_HOME_SECOND = {
    "绣": "xiu", "波": "bo", "庭": "ting", "湖": "hu", "榭": "xie", "景": "jing", "馨": "xin", "泉": "quan",
    "桐": "tong", "竹": "zhu", "枫": "feng", "洲": "zhou", "岸": "an", "澜": "lan", "宁": "ning", "丰": "feng",
    "泽": "ze", "源": "yuan", "悦": "yue", "轩": "xuan", "翔": "xiang", "晖": "hui", "畔": "pan", "榕": "rong",
}  # fmt: skip
_HOME_KINDS = (
    ("苑", "Court"), ("花园", "Gardens"), ("家园", "Homes"), ("公寓", "Apartments"), ("名邸", "Mansions"),
    ("华庭", "Grand Court"), ("雅居", "Residence"), ("小区", "Estate"), ("佳苑", "Fair Court"), ("湾", "Bay"),
)  # fmt: skip
_VILLAGE_FIRST = {
    "陆": "lu", "徐": "xu", "沈": "shen", "顾": "gu", "金": "jin", "盛": "sheng", "张": "zhang", "唐": "tang",
    "朱": "zhu", "钱": "qian", "姚": "yao", "潘": "pan", "施": "shi", "俞": "yu", "夏": "xia", "庄": "zhuang",
    "蒋": "jiang", "范": "fan", "何": "he", "吕": "lü",
}  # fmt: skip
_VILLAGE_SECOND = {
    "家浜": "jiabang", "家桥": "jiaqiao", "家塘": "jiatang", "家湾": "jiawan", "泾": "jing", "家角": "jiajiao",
    "家宅": "jiazhai", "家埭": "jiadai", "家库": "jiashe", "家渡": "jiadu",
}  # fmt: skip
_SIDES = (("东", "East"), ("西", "West"), ("南", "South"), ("北", "North"), ("中", "Middle"))

_SURNAMES = {
    "王": "wang", "李": "li", "张": "zhang", "刘": "liu", "陈": "chen", "杨": "yang", "黄": "huang", "赵": "zhao",
    "吴": "wu", "周": "zhou", "徐": "xu", "孙": "sun", "马": "ma", "朱": "zhu", "胡": "hu", "林": "lin", "郭": "guo",
    "何": "he", "高": "gao", "罗": "luo", "郑": "zheng", "梁": "liang", "谢": "xie", "宋": "song", "唐": "tang",
    "许": "xu", "邓": "deng", "冯": "feng", "韩": "han", "曹": "cao", "曾": "zeng", "彭": "peng", "萧": "xiao",
    "蔡": "cai", "潘": "pan", "田": "tian", "董": "dong", "袁": "yuan", "于": "yu", "余": "yu", "叶": "ye",
    "蒋": "jiang", "杜": "du", "苏": "su", "魏": "wei", "程": "cheng", "吕": "lü", "丁": "ding", "沈": "shen",
    "任": "ren", "姚": "yao", "卢": "lu", "傅": "fu", "钟": "zhong", "姜": "jiang", "崔": "cui", "谭": "tan",
    "陆": "lu", "汪": "wang", "范": "fan", "金": "jin", "石": "shi", "顾": "gu", "俞": "yu", "施": "shi",
}  # fmt: skip
_GIVEN_FIRST = {
    "建": "jian", "志": "zhi", "国": "guo", "文": "wen", "永": "yong", "春": "chun", "秀": "xiu", "桂": "gui",
    "海": "hai", "晓": "xiao", "小": "xiao", "玉": "yu", "明": "ming", "立": "li", "俊": "jun", "雪": "xue",
    "佳": "jia", "思": "si", "子": "zi", "宇": "yu", "浩": "hao", "丽": "li", "雅": "ya", "振": "zhen", "家": "jia",
    "美": "mei", "红": "hong", "卫": "wei", "庆": "qing", "爱": "ai", "慧": "hui", "梦": "meng",
}  # fmt: skip
_GIVEN_SECOND = {
    "华": "hua", "强": "qiang", "军": "jun", "平": "ping", "芳": "fang", "英": "ying", "兰": "lan", "明": "ming",
    "伟": "wei", "杰": "jie", "涛": "tao", "斌": "bin", "鹏": "peng", "婷": "ting", "敏": "min", "静": "jing",
    "洁": "jie", "峰": "feng", "辉": "hui", "龙": "long", "梅": "mei", "萍": "ping", "琴": "qin", "云": "yun",
    "燕": "yan", "琳": "lin", "豪": "hao", "轩": "xuan", "怡": "yi", "东": "dong", "生": "sheng", "根": "gen",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PersonName:
    """A person's name, in characters and in pinyin (family name first, as it is spoken)."""

    zh: str
    en: str
    login: str
    """The pinyin as a part of a login: lower-case ASCII."""


def roads(random: Random) -> Iterator[Name]:
    """Endless two-syllable road names without their kind: (明涛, Mingtao)."""
    pairs = _pairs(_ROAD_FIRST, _ROAD_SECOND, random)
    for zh, en in pairs:
        yield Name(zh, en.capitalize())


def road(base: Name, kind: str) -> Name:
    """A road of that name: arterials are avenues, small ones lanes."""
    if kind == "arterial":
        return Name(base.zh + "大道", base.en + " Avenue")
    if kind == "street":
        return Name(base.zh + "路", base.en + " Road")
    return Name(base.zh + "弄", base.en + " Lane")


_PLACES = {
    "park": ("公园", "Park"),
    "primary_school": ("小学", "Primary School"),
    "kindergarten": ("幼儿园", "Kindergarten"),
    "middle_school": ("中学", "Middle School"),
    "market": ("菜市场", "Market"),
    "plaza": ("广场", "Plaza"),
    "offices": ("科技园", "Technology Park"),
    "works": ("工业园", "Industrial Park"),
    "clinic": ("卫生服务站", "Health Station"),
}


def place(base: Name, use: str) -> Name:
    """A park, school or the like of that name."""
    zh, en = _PLACES[use]
    return Name(base.zh + zh, f"{base.en} {en}")


def homes(random: Random) -> Iterator[Name]:
    """Names of gated compounds, none twice."""
    for zh, en in _pairs(_HOME_FIRST, _HOME_SECOND, random):
        kind_zh, kind_en = random.choice(_HOME_KINDS)
        yield Name(zh + kind_zh, f"{en.capitalize()} {kind_en}")


def villages(random: Random) -> Iterator[tuple[Name, Name]]:
    """Names of villages with their bare stem: ((陆家浜村, Lujiabang Village), (陆家浜, Lujiabang))."""
    for zh, en in _pairs(_VILLAGE_FIRST, _VILLAGE_SECOND, random):
        stem = Name(zh, en.capitalize())
        yield Name(zh + "村", f"{stem.en} Village"), stem


def hamlets(stem: Name, random: Random) -> Iterator[Name]:
    """Names of a village's hamlets: (东陆宅, East Luzhai)."""
    surnames = random.sample(sorted(_VILLAGE_FIRST), len(_VILLAGE_FIRST))
    for n, surname in enumerate(surnames):
        side_zh, side_en = _SIDES[n % len(_SIDES)]
        yield Name(f"{side_zh}{surname}宅", f"{side_en} {_VILLAGE_FIRST[surname].capitalize()}zhai")


def people(random: Random) -> Iterator[PersonName]:
    """Endless names of people; each login once, with a number where two people share a name."""
    weights = [len(_SURNAMES) - n + 12 for n in range(len(_SURNAMES))]
    surnames = list(_SURNAMES)
    seen: dict[str, int] = {}
    while True:
        surname = random.choices(surnames, weights)[0]
        second = random.choice(list(_GIVEN_SECOND))
        first = random.choice(list(_GIVEN_FIRST)) if random.random() < 0.82 else ""
        if first == second:
            first = ""
        given = _GIVEN_FIRST.get(first, "") + _GIVEN_SECOND[second]
        family = _SURNAMES[surname]
        login = f"{family}.{given}".replace("ü", "v")
        seen[login] = seen.get(login, 0) + 1
        if seen[login] > 1:
            login += str(seen[login])
        yield PersonName(surname + first + second, f"{family.capitalize()} {given.capitalize()}", login)


def _pairs(first: dict[str, str], second: dict[str, str], random: Random) -> Iterator[tuple[str, str]]:
    """Pairs of syllables in random order, each character used about equally often, none doubled."""
    pairs = [(a, b) for a in first for b in second if a != b]
    random.shuffle(pairs)
    for a, b in pairs:
        yield a + b, _join(first[a], second[b])


def _join(a: str, b: str) -> str:
    """Pinyin syllables written together; an apostrophe keeps a vowel from being read with the syllable before."""
    return f"{a}'{b}" if b[0] in "aoe" else a + b
