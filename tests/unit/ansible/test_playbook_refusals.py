"""The playbook refuses malformed or misspelt variables, and to overwrite files that others wrote."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chatmail_milter.config import example

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")

ANSIBLE = Path(__file__).resolve().parents[3] / "ansible"
VARS = yaml.safe_load((ANSIBLE / "roles/chatmail/vars/main.yml").read_text("utf-8"))


def loaded(path: str) -> Any:
    """A plugin of Ansible's, which is no module of a package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ANSIBLE / path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


variables = loaded("filter_plugins/operators_variables.py")
foreign = loaded("library/foreign_files.py")

STOCK_MAIN_CF = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
compatibility_level = 3.6
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated
  defer_unauth_destination
myhostname = mail.example.org
mydestination = $myhostname, mail.example.org, localhost.example.org, , localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
inet_interfaces = all
"""


# Without its comments.
STOCK_MAIN_CF_13 = """\
compatibility_level = 3.9
myorigin = $myhostname
smtpd_banner = $myhostname ESMTP $mail_name (Debian)
inet_protocols = all
mynetworks_style = host
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mydestination = $myhostname, localdomain, localhost, localhost.localdomain, localhost
mailbox_size_limit = 0
mailbox_command =
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
biff = no
recipient_delimiter = +
relayhost =
cyrus_sasl_config_path = /etc/postfix/sasl
smtpd_tls_key_file = /etc/ssl/private/ssl-cert-snakeoil.key
smtpd_tls_cert_file = /etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_security_level = may
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
smtp_tls_security_level = may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mail.example.org
inet_interfaces = all
"""


class TestDestinations:
    def tasks(self, node: Any) -> list[dict[str, Any]]:
        """Every task of a file, those in blocks too."""
        found = []
        for task in node or []:
            found += [task, *self.tasks(task.get("block"))]
        return found

    def written(self) -> set[str]:
        """What the tasks of all roles write, as they spell it."""
        paths: set[str] = set()
        for file in (ANSIBLE / "roles").glob("*/tasks/*.yml"):
            for task in self.tasks(yaml.safe_load(file.read_text("utf-8"))):
                for module in ("ansible.builtin.template", "ansible.builtin.copy"):
                    paths |= {task[module]["dest"]} if module in task else set()
                files = task.get("write_files", {}).get("files", {})
                if isinstance(files, dict):
                    paths |= set(files)
                elif "names" in task.get("vars", {}):
                    paths |= {f"/etc/postfix/{name}" for name in task["vars"]["names"]}
                else:
                    # /etc/systemd/system/UNIT.d/chatmail.conf, /etc/dovecot/conf.d/05-chatmail.conf
                    path = task.get("vars", {}).get("path", "")
                    known = re.search(
                        "chatmail_drop_ins|beside_dovecot_files|chatmail[.]conf$", f"{files}{path}"
                    )
                    assert known, f"{file}: which files does it write?"
        return paths

    def test_no_file_that_a_role_writes_is_missing_in_the_list(self) -> None:
        ours = re.compile(
            r"/etc/chatmail/|/usr/local/lib/chatmail/|\S*chatmail\S*$"  # the name is ours
            # The operator named these.
            r"|\{\{ chatmail_(tls_key|tls_certificate|dns_records_file|store_url)\b[^}]*\}\}$"
        )
        wanted = {path for path in self.written() if not ours.match(path)}
        assert len(wanted) > 20
        assert wanted == set(VARS["chatmail_written"])

    def test_what_has_no_mark_is_known_by_name(self) -> None:
        postfix = ANSIBLE.parent / "postfix"
        names = [Path(path).name for path in VARS["chatmail_written"] if path.startswith("/etc/postfix/")]
        unmarked = {name for name in names if "ansible_managed" not in (postfix / name).read_text("utf-8")}
        assert {f"/etc/postfix/{name}" for name in unmarked} == set(VARS["chatmail_unmarked"])


class TestNames:
    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("chatmail_qouta", "chatmail_quota"),
            ("nginx_ipv_6", "nginx_ipv6"),
            ("nftables_enable", "nftables_enabled"),
            ("chatmial_domain", "chatmail_domain"),
            ("postfix_relay_process", "postfix_relay_processes"),
        ],
    )
    def test_a_misspelt_variable_is_named_with_the_nearest(self, name: str, nearest: str) -> None:
        wanted = f"there is no variable {name}; the nearest is {nearest}"
        assert variables.misspelt(["chatmail_domain", name]) == [wanted]

    def test_what_is_not_meant_for_us_is_left_alone(self) -> None:
        names = ["ansible_host", "mysite_colour", "nginx_ipv6", "chatmail_packages", "chatmail_foreign"]
        assert variables.misspelt(names) == []


class TestValues:
    TEMPLATE = '[mail]\ndomain = "{{ chatmail_domain }}"\n[expiry]\nmail = "{{ chatmail_expire_mail }}"\n'

    def said(self, mail: str) -> str:
        text: str = variables.malformed(
            f'[mail]\ndomain = "a.example"\n[expiry]\nmail = "{mail}"\n', self.TEMPLATE
        )
        return text

    @pytest.mark.parametrize("mail", ["20", "20 days", "20D", "1h30min", ""])
    def test_a_malformed_duration_is_named_by_its_variable(self, mail: str) -> None:
        assert self.said(mail).startswith(
            "chatmail_expire_mail: chatmail.toml: expiry.mail: wants a number with a unit"
        )

    @pytest.mark.parametrize("mail", ["20d", "36h", "0s", "90min"])
    def test_a_duration_is_taken(self, mail: str) -> None:
        assert self.said(mail) == ""


class TestSettings:
    TEMPLATE = (
        TestValues.TEMPLATE + "\n[pages]\nlog_days = {# journald_days (beside) #}{{ x }}\n[listen]\nhooks = 1"
    )
    RENDERED = (
        '[mail]\ndomain = "a.example"\n\n# Why.\n[expiry]\nmail = "20d"\n'
        "[pages]\nlog_days = 1\n[listen]\nhooks = 1\n"
    )

    def test_without_any_the_file_stays_as_it_is(self) -> None:
        assert variables.with_settings(self.RENDERED, {}) == self.RENDERED

    def test_they_are_added_to_their_sections(self) -> None:
        settings = {
            "mail": {"chat_domains": ["a.example", 'b"\U0001f511']},
            "relay": {"workers": 32, "new": True},
            "metadata": {"deltachat": {"a/b": "c"}},
        }
        text = variables.with_settings(self.RENDERED, settings)
        known = tomllib.loads(self.RENDERED)
        known["mail"] |= settings["mail"]
        assert tomllib.loads(text) == known | {name: settings[name] for name in ("relay", "metadata")}
        assert "# Why." in text

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"expiry": {"mail": "1d"}}, ["expiry.mail: set chatmail_expire_mail instead"]),
            ({"listen": {"hooks": 2}}, ["listen.hooks: the playbook sets it"]),
            ({"pages": {"log_days": 2}}, ["pages.log_days: set journald_days (beside) instead"]),
            ({"expiry": {"large": "1MB"}, "relay": {"workers": 32}}, []),
        ],
    )
    def test_a_key_that_a_variable_sets_is_refused(self, settings: dict[str, Any], said: list[str]) -> None:
        found = variables.set_twice(self.RENDERED, settings, self.TEMPLATE)
        assert found == [f"chatmail_settings: {one}" for one in said]

    def test_every_key_of_the_configuration_can_be_set(self) -> None:
        """By a variable, which the refusal names, or else by `chatmail_settings`."""
        template = (ANSIBLE / "roles/chatmail/templates/chatmail.toml.j2").read_text("utf-8")
        # With all that the template may render.
        rendered = re.sub(r"(?m) = .*|^\{.*", lambda found: " = 0" if found[0][0] == " " else "", template)
        every = example.tree(example.EXAMPLE)
        known = set(variables._options(ANSIBLE / "roles"))
        assert tomllib.loads(rendered).keys() <= every.keys()
        said = variables.set_twice(rendered, every, template)
        named = {
            one.rpartition(": set ")[2].split()[0].rstrip(":") for one in said if "chat_domains" not in one
        }
        assert len(named) > 30
        assert named - known == set()

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"relay": {"wokers": 3}}, "relay.wokers: no such key; the nearest is relay.workers"),
            ({"realy": {"workers": 3}}, "realy: no such key; the nearest is relay"),
            ({"relay": {"workers": "x"}}, "relay.workers: "),
        ],
    )
    def test_an_unknown_key_is_named_with_the_nearest(self, settings: dict[str, Any], said: str) -> None:
        text = variables.with_settings('[mail]\ndomain = "a.example"\n', settings)
        assert variables.malformed(text, self.TEMPLATE).startswith(
            f"chatmail_settings: chatmail.toml: {said}"
        )

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"relay": {"wokers": 3}}, "relay.wokers: no such key; the nearest is relay.workers"),
            ({"realy": {"workers": 3}}, "realy: no such key; the nearest is relay"),
        ],
    )
    def test_where_our_python_is_missing_the_example_knows_the_keys(
        self, settings: dict[str, Any], said: str
    ) -> None:
        documented = example.render(example.EXAMPLE, documented=True)
        every = example.render(example.EXAMPLE, documented=False)
        assert variables.unknown(every, documented) == ""
        text = variables.with_settings(every, settings)
        assert variables.unknown(text, documented) == f"chatmail_settings: {said}"

    @pytest.mark.parametrize("settings", [{"relay": 3}, {"relay": {"workers": None}}])
    def test_what_is_no_toml_is_an_error_that_says_so(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="chatmail_settings: "):
            variables.with_settings(self.RENDERED, settings)


class TestSomebodysWork:
    @pytest.mark.parametrize("text", [STOCK_MAIN_CF, STOCK_MAIN_CF_13], ids=["Debian 12", "Debian 13"])
    def test_main_cf_as_the_package_makes_it_is_nobodys(self, text: str) -> None:
        assert foreign.stock_main_cf(text)

    @pytest.mark.parametrize(
        "line",
        [
            "relayhost = [smarthost.example.org]",
            "mydestination = $myhostname, localhost, another.example",
            "virtual_mailbox_domains = another.example",
            "mynetworks = 127.0.0.0/8 192.0.2.0/24",
            "mynetworks_style = subnet",
            "mailbox_command = /usr/bin/procmail",
        ],
    )
    def test_main_cf_with_an_admins_word_is_somebodys(self, line: str) -> None:
        assert not foreign.stock_main_cf(f"{STOCK_MAIN_CF}{line}\n")

    def test_a_file_of_comments_is_nobodys_and_a_file_as_packaged(self, tmp_path: Path) -> None:
        file = tmp_path / "x.conf"
        file.write_text("# only\n\n   # comments\n", "utf-8")
        assert foreign.nobodys(str(file), set())
        file.write_text("a = 1\n", "utf-8")
        assert not foreign.nobodys(str(file), set())
        # md5sum of "a = 1\n", as in /var/lib/dpkg/status.
        assert foreign.nobodys(str(file), {(str(file), MD5_OF_A_IS_1)})
        assert not foreign.nobodys(str(file), {(str(file), "0" * 32)})

    def test_a_later_copy_never_overwrites_an_earlier(self, tmp_path: Path) -> None:
        backup, file = str(tmp_path / "backup"), tmp_path / "main.cf"
        file.write_text("one\n", "utf-8")
        first = Path(foreign.keep(backup, [str(file)])) / str(file).lstrip("/")
        assert foreign.kept(backup, str(file))
        file.write_text("two\n", "utf-8")
        assert not foreign.kept(backup, str(file))
        second = Path(foreign.keep(backup, [str(file)])) / str(file).lstrip("/")
        assert (first.read_text("utf-8"), second.read_text("utf-8")) == ("one\n", "two\n")


MD5_OF_A_IS_1 = "9358f2568f3316fe7e78a4fa7707c414"
