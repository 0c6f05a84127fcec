"""An officer's month: seen and contested on his phone, decided at the desk, and taken away as a report."""

from __future__ import annotations

import subprocess
import sys

from playwright.sync_api import Browser, Page, expect

from tests.running.installation import ROOT
from tests.web.conftest import Phone, Town
from tests.web.test_desk import seated


def opened_row(page: Page, name: str) -> None:
    """Open the month of an officer in the desk's list."""
    page.locator("[data-appraisal]").filter(has_text=name).get_by_role("button").click()
    expect(page.get_by_test_id("appraisal")).to_contain_text(name)


def test_an_officer_objects_on_his_phone_and_the_desk_decides(
    phone: Phone, chromium: Browser, town: Town
) -> None:
    """The figures follow at once on both screens; the desk's table has no order but the names."""
    officer = town.hire()
    written = subprocess.run(
        [sys.executable, "-m", "tests.web.appraised", officer["id"]], cwd=ROOT, capture_output=True, text=True,
        env=town.installation.environment, timeout=120,
    )  # fmt: skip
    assert written.returncode == 0, written.stderr

    page = phone.sign_in(officer)
    page.goto(town.url + "/officer/me")
    page.click("[data-test=to-appraisals]")
    expect(page.locator("[data-test=appraisal]")).to_contain_text("75.0%")
    page.click("[data-test=appraisal]")
    rounds = page.locator("[data-figure=rounds_on_time]")
    rounds.locator(".head").click()
    expect(rounds).to_contain_text("6 / 8")
    expect(rounds.locator("[data-test=input]")).to_have_count(8)
    missed = rounds.locator("[data-test=input]").filter(has_text="未开始")
    missed.locator("[data-test=contest-input]").click()
    page.get_by_placeholder("请说明哪里不对").fill("当时在处理紧急求援")
    page.get_by_role("button", name="提交").click()
    expect(rounds.locator("[data-test=contest]")).to_have_attribute("data-state", "open")

    with seated(chromium, town) as desk:
        at_desk = desk.sign_in(town.accounts["supervisor"], "/appraisals")
        heads = at_desk.locator("table.figures th")
        expect(heads.first).to_have_text("队员")
        assert at_desk.locator("table.figures th button, table.figures th[aria-sort]").count() == 0
        at_desk.get_by_role("tab", name="异议").click()
        contest = at_desk.locator("[data-contest]").filter(has_text=officer["display_name"])
        contest.get_by_test_id("uphold").click()
        expect(contest.get_by_role("alert")).to_contain_text("理由")
        contest.get_by_label("理由（本人可见）").fill("值班日志可证")
        contest.get_by_test_id("uphold").click()
        expect(contest).to_have_attribute("data-state", "upheld")
        at_desk.get_by_role("tab", name="队员").click()
        opened_row(at_desk, officer["display_name"])
        expect(at_desk.locator("[data-figure=rounds_on_time]")).to_contain_text("6 / 7")
        expect(at_desk.locator("[data-figure=silent]")).to_contain_text("该处信号差")
        at_desk.goto(town.url + "/desk/rounds")
        at_desk.get_by_test_id("open-report").click()
        at_desk.get_by_test_id("monthly-report").get_by_placeholder("例如").fill("报送镇平安办")
        at_desk.get_by_text("XLSX").click()
        with at_desk.expect_download(timeout=60_000) as download:
            at_desk.get_by_test_id("take-report").click()
        assert download.value.suggested_filename.endswith(".xlsx")

    page.reload()
    expect(rounds).to_contain_text("6 / 7")
    rounds.locator(".head").click()
    expect(rounds.locator("[data-test=contest]")).to_contain_text("值班日志可证")
