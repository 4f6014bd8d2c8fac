"""The admin pages: login, sessions, and what a stranger gets."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from falcon import MEDIA_JSON

from mxdeliv_app.admin import gunicorn_conf
from mxdeliv_app.admin.sessions import COOKIE
from tests.unit.admin.site import ACT, HTML, JSON, PATHS, QUEUE_ID, READ, AdminSite

FIRST, SECOND = "192.0.2.1", "192.0.2.2"


class TestGettingIn:
    @pytest.mark.parametrize("headers", [HTML, JSON])
    def test_who_has_not_logged_in_gets_the_same_answer_everywhere(
        self, site: AdminSite, headers: dict[str, str]
    ) -> None:
        answers = [site.get(path, headers) for path in (*PATHS, "/none", "/orders/route-set", "/session")]
        answers += [site.post("/orders/queue-delete", headers, id=QUEUE_ID), site.post("/logout", headers)]
        assert {one.status_code for one in answers} == {401}
        assert len({one.text for one in answers}) == 1
        for name in ("a.test", "b.test", "Peers", "user00001"):
            assert name not in answers[0].text
        assert site.orders == []

    @pytest.mark.parametrize("password", ["wrong", "", "x" * 129, "\u202e\x00", ACT + " "])
    def test_a_wrong_password_gets_no_session(self, site: AdminSite, password: str) -> None:
        result = site.log_in(password)
        assert result.status_code == 401
        assert COOKIE not in result.cookies

    def test_the_cookie_is_for_this_site_alone(self, site: AdminSite) -> None:
        cookie = site.log_in(READ).cookies[COOKIE]
        assert COOKIE.startswith("__Secure-")
        assert (cookie.secure, cookie.http_only, cookie.path, cookie.same_site) == (
            True,
            True,
            "/admin",
            "Strict",
        )
        assert len(cookie.value) >= 43  # 256 bits

    def test_logging_out_ends_the_session(self, admin: AdminSite) -> None:
        token = admin.json("/session")["csrf"]
        assert admin.post("/logout", csrf=token).status_code == 200
        assert admin.get().status_code == 401

    def test_logging_in_ends_the_session_before(self, admin: AdminSite) -> None:
        before = admin.cookie
        token = admin.json("/session")["csrf"]
        assert admin.post("/login", password=READ, csrf=token).status_code == 200
        admin.cookie = before
        assert admin.get().status_code == 401

    def test_many_sessions_end_the_oldest_of_the_same_password(self, site: AdminSite) -> None:
        cookies = {"act": site.sessions.begin("privileged"), "first": site.sessions.begin("read-only")}
        for _ in range(100):
            site.clock += 1
            cookies["last"] = site.sessions.begin("read-only")
        assert {name for name, one in cookies.items() if site.sessions.find(one)} == {"act", "last"}

    @pytest.mark.parametrize(("seconds", "status"), [(3599, 200), (3600, 401)])
    def test_an_idle_hour_ends_it(self, admin: AdminSite, seconds: int, status: int) -> None:
        admin.clock += seconds
        assert admin.get("/session", JSON).status_code == status

    def test_half_a_day_ends_it(self, admin: AdminSite) -> None:
        for _ in range(23):
            admin.clock += 1800
            assert admin.get("/session", JSON).status_code == 200
        admin.clock += 1800
        assert admin.get("/session", JSON).status_code == 401

    def test_ten_failures_a_minute_and_the_right_password_has_to_wait(self, site: AdminSite) -> None:
        answers = [site.log_in("wrong", **{"X-Real-IP": FIRST}).status_code for _ in range(11)]
        assert answers == [401] * 10 + [429]
        result = site.log_in(ACT, **{"X-Real-IP": FIRST})
        assert (result.status_code, result.headers["retry-after"]) == (429, "60")
        assert site.log_in(ACT, **{"X-Real-IP": SECOND}).status_code == 200

    def test_many_who_guess_at_once_leave_threads_for_pages(
        self, site: AdminSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may_end = threading.Event()
        # Longer than the test waits: nothing here depends on how quick the machine is.
        monkeypatch.setattr("mxdeliv_app.admin.login._TURN_TIMEOUT", 120.0)
        monkeypatch.setattr("mxdeliv_app.admin.passwords.role", lambda *_: may_end.wait(120) and None)

        def guess(client: str) -> int:
            return site.log_in("wrong", **{"X-Real-IP": client}).status_code

        with ThreadPoolExecutor(gunicorn_conf.threads + 3) as pool:
            guesses = [pool.submit(guess, f"192.0.2.{number}") for number in range(gunicorn_conf.threads)]
            done = as_completed(guesses, 30)
            try:
                busy = [next(done).result() for _ in range(4)]
                # Others than these wait for their turn, too.
                others = [pool.submit(guess, f"198.51.{number}.1") for number in range(3)]
                busy += [next(as_completed(others, 30)).result()]
            finally:
                may_end.set()
        assert busy == [503] * 5
        assert sorted(one.result() for one in guesses) == [401] * 4 + [503] * 4
        assert sorted(one.result() for one in others) == [401, 401, 503]

    def test_forty_failures_a_minute_from_all_networks_of_a_site(self, site: AdminSite) -> None:
        guesses = [f"2001:db8:0:{number % 5}::1" for number in range(40)]
        assert {site.log_in("wrong", **{"X-Real-IP": one}).status_code for one in guesses} == {401}
        assert site.log_in(ACT, **{"X-Real-IP": "2001:db8:0:99::1"}).status_code == 429
        assert site.log_in(ACT, **{"X-Real-IP": "2001:db8:1::1"}).status_code == 200

    @pytest.mark.parametrize("body", ['{"password": "\\ud800"}', "[" * 16000, '{"password": ["x"]}'])
    def test_a_stranger_s_strange_json_is_no_fault_of_ours(self, site: AdminSite, body: str) -> None:
        headers = JSON | {"Content-Type": MEDIA_JSON}
        assert site.client.simulate_post("/admin/login", headers=headers, body=body).status_code == 422

    def test_an_ipv6_network_counts_as_one(self, site: AdminSite) -> None:
        for number in range(10):
            site.log_in("wrong", **{"X-Real-IP": f"2001:db8::{number}"})
        assert site.log_in(ACT, **{"X-Real-IP": "2001:db8::ffff"}).status_code == 429
        assert site.log_in(ACT, **{"X-Real-IP": "2001:db8:0:1::1"}).status_code == 200
