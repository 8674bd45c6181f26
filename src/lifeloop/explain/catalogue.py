"""The words of reasons, per language. One place, so that a translator needs no code.

Placeholders: {verb} what the user did, {items} quoted names, {n} people, {days} the recent past,
{query} what the user wrote, {share} percent of the score.
"""

from collections.abc import Mapping

TEMPLATES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "because": "because you {verb} {items}",
        "again": "you {verb} {items} before",
        "similar": "similar to what you {verb}: {items}",
        "query": "matches your search {query}",
        "query_use": "used by people who use what {query} names",
        "written": "near to what you wrote: {query}",
        "popular_recent": "popular: {verb} by {n} people in the last {days} days",
        "popular_recent_month": "popular this month: {verb} by {n} people in the last {days} days",
        "popular_recent_one": "{verb} by one person in the last {days} days",
        "popular_ever": "popular: {verb} by {n} people so far",
        "popular_ever_one": "{verb} by one person so far",
        "popular": "popular with other people",
        "context": "used more than usual at times and places like this",
        "chance": "shown to explore: picked at random",
        "none": "a mix of many small signals, none of which stands out",
        "share": " ({share}% of the score)",
        "and": " and ",
        "comma": ", ",
        "quote": "‘{name}’",
    },
    "zh": {
        "because": "因为您{verb}了{items}",
        "again": "您曾{verb}过{items}",
        "similar": "与您{verb}的{items}相似",
        "query": "符合您的搜索{query}",
        "query_use": "使用{query}相关内容的人也在用",
        "written": "与您写过的{query}相近",
        "popular_recent": "热门：最近{days}天有{n}人{verb}",
        "popular_recent_month": "本月热门：最近{days}天有{n}人{verb}",
        "popular_recent_one": "最近{days}天有1人{verb}",
        "popular_ever": "热门：共有{n}人{verb}",
        "popular_ever_one": "共有1人{verb}",
        "popular": "很多人喜欢",
        "context": "在这样的时间和场合用得比平时多",
        "chance": "随机展示，用于探索",
        "none": "由许多细小的线索共同得出，没有哪一条特别突出",
        "share": "（占得分的{share}%）",
        "and": "和",
        "comma": "、",
        "quote": "“{name}”",
    },
}

VERBS: Mapping[str, Mapping[str, str]] = {
    "zh": {
        "bought": "购买",
        "clicked": "点击",
        "finished": "看完",
        "looked at": "浏览",
        "played": "播放",
        "put in the basket": "加入购物车",
        "rated": "评分",
        "reviewed": "评价",
        "saved": "收藏",
        "searched for": "搜索",
        "used": "使用",
        "viewed": "浏览",
    }
}
"""Verbs of the built-in scenarios; a verb that is not here is used as the scenario gives it."""
