"""The page "Log"."""

from __future__ import annotations

from app.audit import pages
from app.database import transaction
from app.rounds.events import record
from tests.pages.conftest import SECRET_NAME, Cast, soup


def test_the_newest_comes_first_and_earlier_ones_follow(cast: Cast) -> None:
    with transaction() as session:
        for n in range(pages.SHOWN + 5):
            record(session, "test.happened", project_id=cast.project_id, n=n, note="<i>x</i>")
    page = soup(cast.owner.get(f"{cast.p}/log"))
    rows = page.select("tbody tr")
    assert len(rows) == pages.SHOWN
    assert f"n: {pages.SHOWN + 4}" in rows[0].text
    assert "<i>x</i>" in rows[0].text
    assert "the program" in rows[0].text
    earlier = page.find("a", string="Earlier")["href"]
    page = soup(cast.owner.get(earlier))
    assert f"n: {4}" in page.select("tbody tr")[0].text
    assert page.find("a", string="Earlier") is None
    assert "member: added" in page.text


def test_admins_read_what_happened_anywhere(cast: Cast) -> None:
    with transaction() as session:
        for n in range(pages.SHOWN):
            record(session, "test.of_the_site", n=n)
    page = soup(cast.admin.get("/admin/log"))
    assert len(page.select("tbody tr")) == pages.SHOWN
    earlier = page.find("a", string="Earlier")["href"]
    assert earlier.startswith("/admin/log?")
    page = soup(cast.admin.get(earlier))
    links = {a.text for a in page.select("tbody a[href$='/log']")}
    assert links == {SECRET_NAME}
    assert "member: added" in page.text
    assert cast.owner.get("/admin/log").status_code == 403
    assert soup(cast.admin.get("/admin/system")).find("a", href="/admin/log") is not None
