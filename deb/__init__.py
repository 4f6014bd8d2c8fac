"""The Debian package, for Debian 12 and 13: `python -m deb` after `make dist` (`make deb` does both).

| file | what it makes |
|---|---|
| `programs.py` | the private virtual environment, from the wheelhouse, without a network |
| `units.py` | units, users and directories, from the templates in the role `chatmail` |
| `manual.py`, `troff.py` | a manual page of each program and chatmail.toml(5), from the programs themselves |
| `package.py` | control data, and the archive by `dpkg-deb` |
| `release.py` | what depends on the release: names, version, libc |
| `scripts/` | what runs on the host; POSIX shell, with `@WORDS@` that `package.py` fills in |

debhelper is left out. It would need a second list of our files, and dh-virtualenv, which Debian 12 does not
have; and its maintainer scripts start what is not configured yet. The same tree gives the same archive,
octet by octet.
"""
