"""The admin pages: the two roles, escaping of hostile text, and messages for unavailable parts."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from falcon import MEDIA_URLENCODED
from sqlalchemy import Engine

from chatmail_milter.figures import accounts
from chatmail_milter.store.engine import open_store
from mxdeliv_app.admin import sources
from mxdeliv_app.admin.order_client import Done
from mxdeliv_app.admin.orders import ORDERS
from mxdeliv_app.admin.sessions import COOKIE
from tests import stores
from tests.unit.admin.site import ACT, HTML, JSON, PATHS, QUEUE_ID, READ, AdminSite, SeenPage, queued


class TestPages:
    @pytest.mark.parametrize("path", PATHS)
    def test_each_page_is_html_and_json(self, admin: AdminSite, path: str) -> None:
        page = admin.get(path)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.text.startswith("<!doctype html>")
        data = admin.get(path, JSON)
        assert (data.status_code, data.headers["content-type"]) == (200, "application/json")
        assert isinstance(json.loads(data.text), dict)
        for answer in (page, data):
            assert "secret-hash" not in answer.text

    @pytest.mark.parametrize("path", ["", "/none", "/peers"])
    def test_every_answer_keeps_other_sites_out(self, admin: AdminSite, path: str) -> None:
        for answer in (admin.get(path), admin.post("/login"), AdminSite(None).get(path)):
            policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
            assert policy["script-src"].startswith("'sha256-")
            assert "unsafe" not in str(policy)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize("path", PATHS)
    def test_hostile_words_are_text(self, admin: AdminSite, path: str) -> None:
        page = admin.get(path)
        seen = SeenPage(page.text)
        assert [tag for tag, _ in seen.tags].count("script") == 1
        assert "img" not in {tag for tag, _ in seen.tags}
        for _, attributes in seen.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert not set("\x1b\u202e") & set(page.text)

    def test_hostile_words_are_shown(self, admin: AdminSite) -> None:
        for path in ("/peers/b.test", "/queue", "/blocklist"):
            assert "{{ 7 * 7 }}" in SeenPage(admin.get(path).text).words

    def test_parameters_are_text_too(self, admin: AdminSite) -> None:
        hostile = '"><script>alert(1)</script>'
        for path, name in (("/peers", "domain"), ("/accounts", "begins"), ("/queue", "reason")):
            tags = [tag for tag, _ in SeenPage(admin.get(path, HTML, **{name: hostile}).text).tags]
            assert tags.count("script") == 1

    @pytest.mark.parametrize(
        "path",
        ["/none", "/peers/none.test", "/peers/%3Cscript%3E", "/peers/..%2f", "/queue/4nothere", "/x/y"],
    )
    def test_what_is_not_there(self, admin: AdminSite, path: str) -> None:
        for headers in (HTML, JSON):
            assert admin.get(path, headers).status_code == 404

    @pytest.mark.parametrize(
        ("path", "name", "value"),
        [
            ("", "span", "year"),
            ("/peers", "sort", "password"),
            ("/peers", "filter", "'; DROP TABLE peers"),
            ("/peers", "page", "0"),
            ("/queue", "page", "-1"),
            ("/blocklist", "page", "9" * 9),
            ("/peers/b.test", "span", "<"),
        ],
    )
    def test_a_bad_value_names_its_field(self, admin: AdminSite, path: str, name: str, value: str) -> None:
        result = admin.get(path, JSON, **{name: value})
        assert (result.status_code, json.loads(result.text)["field"]) == (422, name)

    def test_accounts_a_hundred_at_a_time(self, admin: AdminSite) -> None:
        first = admin.json("/accounts")
        assert len(first["accounts"]) == 100
        second = admin.json("/accounts", after=first["further"])
        assert [one["address"] for one in second["accounts"]] == ["user00100@a.test", "user00101@a.test"]
        assert second["further"] is None
        (found,) = admin.json("/accounts", begins="user00042")["accounts"]
        assert found["address"] == "user00042@a.test"
        assert admin.json("/accounts", begins="%")["accounts"] == []

    def test_accounts_are_counted_once_for_many_pages_and_again_after_an_order(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sources, "_FIGURES", float("inf"))
        admin = AdminSite(engine)
        admin.log_in(ACT)
        counted: list[date] = []
        count = accounts.count

        def counting(engine: Engine, today: date) -> accounts.AccountFigures:
            counted.append(today)
            return count(engine, today)

        monkeypatch.setattr(accounts, "count", counting)
        assert [admin.json("/accounts")["counts"]["number"] for _ in range(3)] == [102, 102, 102]
        assert len(counted) == 1
        admin.order("block-add", entry="evil.test")
        admin.json("/accounts")
        assert len(counted) == 2

    @pytest.mark.parametrize(
        ("chosen", "domains"),
        [
            ("all", {"b.test", "c.test", "bad.test"}),
            ("failing", {"bad.test"}),
            ("queued", {"b.test"}),
            ("restricted", {"c.test", "bad.test"}),
        ],
    )
    def test_filters_of_peers(self, admin: AdminSite, chosen: str, domains: set[str]) -> None:
        found = admin.json("/peers", filter=chosen)
        assert {one["domain"] for one in found["peers"]} == domains

    def test_peers_by_what_is_asked_for(self, admin: AdminSite) -> None:
        assert [one["attempts"] for one in admin.json("/peers", sort="attempts")["peers"]][:2] == [3, 2]
        assert admin.json("/peers", sort="share")["peers"][0]["domain"] == "bad.test"

    def test_the_queue_by_destination_and_reason(self, admin: AdminSite) -> None:
        admin_queue = admin.json("/queue")
        assert [one["domain"] for one in admin_queue["queue"]["destinations"]] == ["b.test"]
        assert admin.json("/queue", domain="c.test")["messages"] == []

    def test_the_password_of_the_store_is_no_setting_to_show(self, engine: Engine) -> None:
        site = AdminSite(engine, url="postgresql+psycopg://chatmail:hunter2@db.test/chatmail")
        site.log_in()
        for headers in (HTML, JSON):
            text = site.get("/settings", headers).text
            assert "db.test" in text
            assert "hunter2" not in text


class TestOrders:
    def test_what_is_ordered_is_done_and_told_once(self, admin: AdminSite) -> None:
        result = admin.order("endpoints-forget", HTML, domain="B.test", back="/admin/peers/b.test?span=day")
        assert (result.status_code, result.headers["location"]) == (303, "/admin/peers/b.test?span=day")
        assert admin.orders == [("endpoints-forget", {"domain": "B.test"})]
        assert "It is done." in admin.get("/peers").text
        assert "It is done." not in admin.get("/peers").text

    @pytest.mark.parametrize(
        "back",
        [
            "", "//evil.test/", "https://evil.test/", "/admin/../x\r\nSet-Cookie: a=b", "/administrator",
            "/admin//evil.test",
        ],
    )  # fmt: skip
    def test_it_leads_back_to_no_other_site(self, admin: AdminSite, back: str) -> None:
        result = admin.order("endpoints-forget", HTML, domain="b.test", back=back)
        assert (result.status_code, result.headers["location"]) == (303, "/admin")

    @pytest.mark.parametrize("name", ORDERS)
    def test_the_read_only_password_changes_nothing(self, site: AdminSite, name: str) -> None:
        site.log_in(READ)
        assert site.json("/session")["role"] == "read-only"
        result = site.order(name, domain="b.test", id=QUEUE_ID)
        assert (result.status_code, site.orders) == (403, [])

    @pytest.mark.parametrize("path", PATHS)
    def test_the_read_only_password_sees_no_button_but_its_own(self, site: AdminSite, path: str) -> None:
        site.log_in(READ)
        forms = [one for tag, one in SeenPage(site.get(path).text).tags if tag == "form"]
        assert {one["action"] for one in forms if one["method"] == "post"} == {"/admin/logout"}

    @pytest.mark.parametrize("token", ["", "wrong", "ü", "x" * 5000])
    def test_without_the_token_of_the_session_nothing_is_done(self, admin: AdminSite, token: str) -> None:
        other = AdminSite(admin.engine)
        other.log_in()
        for csrf in (token, other.json("/session")["csrf"]):
            assert admin.order("queue-flush", csrf=csrf).status_code == 403
        assert admin.post("/logout").status_code == 403
        assert admin.orders == []
        assert admin.get("/session", JSON).status_code == 200

    @pytest.mark.parametrize("fetch_site", ["cross-site", "same-site"])
    def test_what_another_site_asks_for_is_not_done(self, admin: AdminSite, fetch_site: str) -> None:
        assert admin.order("queue-flush", JSON | {"Sec-Fetch-Site": fetch_site}).status_code == 403
        assert admin.post("/login", JSON | {"Sec-Fetch-Site": fetch_site}, password=ACT).status_code == 403
        assert admin.orders == []

    def test_a_get_orders_nothing(self, admin: AdminSite) -> None:
        assert admin.get("/orders/queue-flush", JSON).status_code == 405
        assert admin.orders == []

    def test_an_order_that_there_is_not(self, admin: AdminSite) -> None:
        assert admin.order("rm-rf").status_code == 404

    def test_a_bad_value_names_its_field_and_nothing_is_done(self, admin: AdminSite) -> None:
        result = admin.order("queue-delete", id="--all")
        assert (result.status_code, json.loads(result.text)["field"]) == (422, "id")
        page = admin.order("route-set", HTML, domain="<b>")
        assert page.status_code == 422
        assert "<b>" not in page.text
        assert admin.orders == []

    @pytest.mark.parametrize(
        ("said", "status"),
        [
            ("Error: see `chatmailctl route list`: b.test has no route\n", 404),
            ("Error: run this as root, which removes the mail\n", 409),
        ],
    )
    def test_what_chatmailctl_could_not_do_is_told(self, admin: AdminSite, said: str, status: int) -> None:
        admin.done = Done(1, "", said)
        result = admin.order("route-unset", domain="b.test")
        assert result.status_code == status
        assert json.loads(result.text)["title"] == said.removeprefix("Error: ").strip()

    def test_where_nobody_can_do_it_the_command_is_told(self, admin: AdminSite) -> None:
        admin.done = None
        result = admin.order("queue-hold", id=QUEUE_ID)
        assert result.status_code == 503
        assert f"As root: chatmailctl queue hold -- {QUEUE_ID}" in json.loads(result.text)["title"]

    def test_what_an_order_changed_is_seen_at_once(self, admin: AdminSite) -> None:
        assert len(admin.json("/queue")["messages"]) == 1
        admin.messages = [queued(), queued("4other")]
        assert len(admin.json("/queue")["messages"]) == 1
        admin.order("queue-hold", id=QUEUE_ID)
        assert len(admin.json("/queue")["messages"]) == 2

    def test_a_field_that_is_named_twice(self, admin: AdminSite) -> None:
        token = admin.json("/session")["csrf"]
        result = admin.client.simulate_post(
            "/admin/orders/queue-hold",
            headers=JSON | {"Cookie": f"{COOKIE}={admin.cookie}", "Content-Type": MEDIA_URLENCODED},
            body=f"csrf={token}&id=a&id=b",
        )
        assert (result.status_code, admin.orders) == (422, [])


class TestOneMessage:
    def test_its_way_is_that_of_trace(self, admin: AdminSite) -> None:
        found = admin.json(f"/queue/{QUEUE_ID}")
        assert found["missing"] == {}
        assert [one["kind"] for one in found["way"]["steps"]] == ["message-id", "delivery"]
        assert found["way"]["recipients"][0]["state"] == "waiting"
        words = SeenPage(admin.get(f"/queue/{QUEUE_ID}").text).words
        assert "b.test put it off: <script>" in words
        assert "Ask the operator of b.test." in words
        # From before it arrived.
        (asked, _) = admin.traced
        assert (asked["id"], 3600 <= int(asked["since"].removesuffix("s")) < 4200) == (QUEUE_ID, True)

    def test_where_the_journal_has_nothing_or_does_not_answer_the_rest_is_there(
        self, admin: AdminSite
    ) -> None:
        admin.trace = Done(0, '{"messages": [], "queue": []}', "")
        assert "The journal has no line about it" in SeenPage(admin.get(f"/queue/{QUEUE_ID}").text).words
        admin.trace = Done(1, "", "Error: run this as root: journalctl says: no\n")
        found = admin.json(f"/queue/{QUEUE_ID}")
        assert (found["way"], found["missing"]["way"]) == (None, "run this as root: journalctl says: no")
        words = SeenPage(admin.get(f"/queue/{QUEUE_ID}").text).words
        assert "run this as root" in words
        assert "bob@b.test" in words

    @pytest.mark.parametrize("queue", ["deferred", "hold", "active"])
    def test_what_can_be_done_depends_on_where_it_is(self, admin: AdminSite, queue: str) -> None:
        admin.messages = [queued(queue=queue)]
        forms = {
            one["action"] for tag, one in SeenPage(admin.get(f"/queue/{QUEUE_ID}").text).tags if tag == "form"
        }
        orders = {str(one).rpartition("/")[2] for one in forms} - {"logout"}
        assert orders == {"queue-delete"} | {
            "deferred": {"queue-retry", "queue-hold"}, "hold": {"queue-release"}, "active": {"queue-hold"},
        }[queue]  # fmt: skip


class TestWhatIsAway:
    def test_without_the_store_the_rest_is_there(self) -> None:
        site = AdminSite(None)
        site.log_in()
        found = site.json()
        assert (found["traffic"], found["accounts"], found["queue"]["messages"]) == (None, None, 1)
        assert found["missing"]["traffic"] == "start the database"
        assert "start the database" in SeenPage(site.get().text).words
        assert site.json("/queue")["queue"]["messages"] == 1
        assert site.json("/settings")["settings"]["mail"]["domain"] == "a.test"
        for path in ("/peers", "/peers/b.test", "/accounts", "/blocklist", "/tokens"):
            result = site.get(path)
            assert result.status_code == 503
            assert "start the database" in SeenPage(result.text).words

    def test_without_postfix_the_rest_is_there(self, engine: Engine) -> None:
        site = AdminSite(engine, None)
        site.log_in()
        assert site.json()["missing"]["queue"] == "check that Postfix is running"
        for path in ("", "/queue", "/peers/b.test"):
            assert "check that Postfix is running" in SeenPage(site.get(path).text).words
        assert {one["queued"] for one in site.json("/peers")["peers"]} == {None}
        assert site.get(f"/queue/{QUEUE_ID}").status_code == 503

    def test_of_an_empty_relay_it_says_so(self, tmp_path: Path) -> None:
        site = AdminSite(open_store(stores.made(tmp_path / "store")), [])
        site.log_in()
        for path, said in (
            ("", "Nothing yet"),
            ("/peers", "No mail was exchanged yet."),
            ("/queue", "The queue is empty."),
            ("/accounts", "There are no accounts yet."),
            ("/blocklist", "The blocklist is empty."),
            ("/tokens", "There are no tokens."),
        ):
            assert said in SeenPage(site.get(path).text).words

    def test_findings_of_doctor_are_on_the_overview(self, engine: Engine) -> None:
        finding = {
            "subject": "dns", "what": "MX", "state": "bad", "found": "is <b>gone</b>", "why": "no mail",
            "mend": "add it",
        }  # fmt: skip
        site = AdminSite(engine, findings=[finding])
        site.log_in()
        assert site.json()["findings"] == [finding]
        words = SeenPage(site.get().text).words
        assert "is <b>gone</b>" in words
        assert "add it" in words
