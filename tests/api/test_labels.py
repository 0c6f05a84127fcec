"""Labels of checkpoints: what is printed, for whom, and where a scanned code leads."""

from __future__ import annotations

import ctypes
from typing import Any
from urllib.parse import urlencode, urlsplit

import pypdfium2
import pytest
import zxingcpp

from backend.adapters import labels as adapter
from backend.adapters.labels import Label, Limits
from backend.core.errors import Unavailable
from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.models import Checkpoint, Journal
from tests.api.conftest import Caller, World
from tests.rounds import make_checkpoint
from workflows import labels

PATH = "/api/v1/desk/checkpoints/labels"
ADDRESS = "https://patrol.example.org"


def label(number: int, zh: str = "东门", en: str = "East gate") -> Label:
    return Label(f"QH-{number:03d}", zh, en, f"{ADDRESS}/c/{number:032x}")


def scanned(document: bytes) -> list[list[str]]:
    """What a phone's camera reads off each printed page, in the order of reading."""
    pages = pypdfium2.PdfDocument(document)
    found = [zxingcpp.read_barcodes(page.render(scale=2.5).to_pil()) for page in pages]
    return [
        [
            one.text
            for one in sorted(page, key=lambda one: (one.position.top_left.y // 200, one.position.top_left.x))
        ]
        for page in found
    ]


def text_of(document: bytes) -> str:
    return "".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(document))


def fonts_of(document: bytes, text: str) -> set[str]:
    """The fonts in which these characters are set on the first page."""
    words = pypdfium2.PdfDocument(document)[0].get_textpage()
    whole, found = words.get_text_range(), set()
    for character in text:
        name = ctypes.create_string_buffer(200)
        pypdfium2.raw.FPDFText_GetFontInfo(words, whole.index(character), name, 200, ctypes.c_int())
        found.add(name.value.decode().lower().replace("-", ""))
    return found


def put_up(world: World, number: int = 1, area: str = "a", **more: Any) -> list[Checkpoint]:
    with unit_of_work(world.here.id) as uow:
        return [make_checkpoint(uow, world.here, area=area, **more) for _ in range(number)]


def test_what_is_printed_is_read_by_a_camera_and_by_people_in_both_languages() -> None:
    """Eight on a page; rare characters are embedded, markup in a name is text, and nothing that it names is fetched."""
    wanted = [label(n) for n in range(7)]
    wanted += [
        label(7, "龘㐂社区", '<img src="http://198.51.100.1/x.png"> & co'),
        label(8, "岗亭" * 90, "Gate " * 38),
    ]
    document = adapter.sheet(wanted)
    assert scanned(document) == [[one.url for one in wanted[:8]], [wanted[8].url]]
    text = text_of(document)
    for expected in ("东门", "East gate", "QH-000", "龘㐂社区", "<img src=", "& co", "岗亭岗亭", "QH-008"):
        assert expected in text
    assert all("notosanscjk" in name for name in fonts_of(document, "东门龘㐂"))


def test_a_sheet_that_takes_more_than_it_may_is_no_sheet() -> None:
    with pytest.raises(Unavailable):
        adapter.sheet([label(1)], limits=Limits(memory_bytes=96 * 1024 * 1024))


def printed(world: World) -> int:
    """How often the journal says that labels were printed in the town."""
    with unit_of_work(world.here.id) as uow:
        return uow.session.query(Journal).filter_by(action="print_labels").count()


def test_a_supervisor_prints_labels_of_his_areas_and_nobody_else_does(world: World, signed_in: Any) -> None:
    [here] = put_up(world)
    [beside] = put_up(world, area="b")
    supervisor: Caller = signed_in("supervisor_a")
    before = printed(world)
    answer = supervisor.post(PATH, {"checkpoint_ids": [str(here.id)]})
    assert answer.status_code == 201, answer.text
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("application/pdf", "no-store")
    [[url]] = scanned(answer.data)
    assert urlsplit(url).path == f"/c/{here.label_token}"
    assert printed(world) == before + 1
    for named in ([beside.id], [here.id, beside.id], [new_id()]):
        assert supervisor.post(PATH, {"checkpoint_ids": [str(one) for one in named]}).status_code == 404
    assert supervisor.post(PATH, {"area_id": str(world.here.areas["b"])}).status_code == 422
    for other in ("desk_a", "officer_a", "auditor"):
        assert signed_in(other).post(PATH, {"checkpoint_ids": [str(here.id)]}).status_code == 403


def test_labels_are_of_some_checkpoints_or_of_an_area_and_of_none_out_of_use(
    world: World, signed_in: Any
) -> None:
    with unit_of_work(world.here.id) as uow:
        gone = make_checkpoint(uow, world.here, area="b1", retired_at=uow.now)
        kept = [make_checkpoint(uow, world.here, area="b1") for _ in range(2)]
    supervisor: Caller = signed_in("supervisor")
    area = str(world.here.areas["b1"])
    for body in ({}, {"checkpoint_ids": [str(kept[0].id)], "area_id": area}, {"checkpoint_ids": []}):
        assert supervisor.post(PATH, body).status_code == 422
    refused = supervisor.post(PATH, {"checkpoint_ids": [str(gone.id)]})
    assert (refused.status_code, refused.json["errors"]) == (422, {"checkpoint_ids": [gone.code]})
    with unit_of_work(world.here.id) as uow:
        actor = world.here["supervisor"].actor()
        found = labels.to_print(uow, actor, area_id=world.here.areas["b1"], address=ADDRESS)
    assert [one.code for one in found] == sorted(one.code for one in kept)
    put_up(world, labels.MOST, area="b1")
    refused = supervisor.post(PATH, {"area_id": area})
    assert (refused.status_code, refused.json["code"]) == (422, "too_many_labels")


def test_a_code_leads_to_the_officers_client_whether_it_is_ours_or_made_up(
    world: World, caller: Caller
) -> None:
    """F43: the same answer for each, which knows nothing of the town; what a tag says of itself is kept."""
    [point] = put_up(world)
    for token in (point.label_token, point.tag_token, "0" * 32, "made-up_token"):
        for kind in "ct":
            answer = caller.get(f"/{kind}/{token}")
            assert (answer.status_code, answer.headers["Location"]) == (302, f"/officer/#/scan/{token}")
    said = {"picc_data": "EF963FF7828658A599F3041510671E88", "cmac": "94EED9EE65337086"}
    answer = caller.get(f"/t/{point.tag_token}", **said)
    assert answer.headers["Location"] == f"/officer/#/scan/{point.tag_token}?{urlencode(said)}"
    odd = caller.get(f"/t/{point.tag_token}", x="<script>", y="a b")
    assert odd.headers["Location"].startswith("/officer/#/scan/")
    assert "<" not in odd.headers["Location"]


def test_what_is_no_code_leads_nowhere(caller: Caller) -> None:
    for path in (
        "/c/short",
        f"/c/{'a' * 65}",
        "/c/%2e%2e%2fdesk%2f",
        "/t/https:%2f%2fexample.org",
        "/x/" + "0" * 32,
    ):
        assert caller.get(path).status_code == 404


def test_somebody_who_tries_codes_is_told_to_wait(caller: Caller) -> None:
    answers = [caller.get(f"/c/{number:032x}").status_code for number in range(305)]
    assert set(answers[:300]) == {302}
    assert set(answers[300:]) == {429}
