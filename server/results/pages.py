"""The list of a test's questions as a page, which works without scripts."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

from pydantic import Field

from server.descriptions import MODULE_INFOS
from server.errors import DemoError
from server.results import views
from server.results.filters import Filters, Listing
from server.results.folder import Results, find_test
from server.results.schemas import TestedQuestion

SURE = (0.5, 0.7, 0.9, 0.99)
_TITLES = {info.name: info.title for info in MODULE_INFOS}


class ListingPage(Listing):
    """Which page of which test's questions."""

    test: Annotated[str | None, Field(description="name of a test; left out: the first")] = None


def content(tests: Mapping[str, Results], wanted: ListingPage) -> dict:
    """What the template results.html shows. DemoError where there is no such test or page."""
    if not tests:
        raise DemoError(404, "no_test", "This server was given no results of a test.")
    results = find_test(tests, wanted.test or next(iter(tests)))
    test = views.info(results)
    filters = Filters.model_validate(wanted.model_dump(include=set(Filters.model_fields)))
    chosen = filters.chosen()

    def link(one: TestedQuestion) -> str:
        query = {"sample": one.sample, "question": one.question}
        if test.model is not None:
            query["model"] = test.model
        return f"./?{urlencode(query | {'list': urlencode(chosen)})}#result"

    def page_link(page: int) -> str:
        return f"results?{urlencode({'test': test.name} | chosen | {'page': page})}"

    layouts = dict(test.layouts)
    if filters.layout is not None:
        layouts.setdefault(filters.layout, results.layouts[filters.layout])
    return {
        "tests": list(tests),
        "test": test,
        "listed": views.questions(results, wanted),
        "chosen": chosen,
        "types": [(kind, kind.replace("_", " ")) for kind in test.types],
        "verdicts": [("wrong", "wrong"), ("right", "right"), ("unknown", "unknown")],
        "sure": [(str(share), f"less than {100 * share:g} %") for share in SURE],
        "marks": [
            (mark, f"{mark.replace('_', ' ')} ({count})")
            for mark, count in (test.marks or {}).items()
        ],
        "layouts": [
            (layout, f"{title(layout.split())} ({count})") for layout, count in layouts.items()
        ],
        "departing": [("true", "is another"), ("false", "is the same")],
        "experts": any(row.expert_layout for row in results.rows),
        "words": {True: "right", False: "wrong", None: "unknown"},
        "title": title,
        "link": link,
        "page_link": page_link,
    }


def title(layout: list[str]) -> str:
    """A layout as people read it."""
    names = [_TITLES.get(module) or module.removeprefix("_") for module in layout]
    return " → ".join(names) or "nothing"
