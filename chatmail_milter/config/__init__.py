"""The configuration that every program reads: types, defaults, parsers, the documented example."""

from chatmail_milter.config.loading import (
    DEFAULT_PATH,
    ConfigError,
    load,
    load_or_exit,
    parse,
    place,
)
from chatmail_milter.config.schema import (
    AccountSettings,
    Config,
    ExpirySettings,
    InboundSettings,
    LimitSettings,
    ListenSettings,
    MailSettings,
    MetadataSettings,
    PagesSettings,
    PushSettings,
    RelaySettings,
    Section,
    StoreSettings,
    SubmissionSettings,
)

__all__ = [
    "DEFAULT_PATH",
    "AccountSettings",
    "Config",
    "ConfigError",
    "ExpirySettings",
    "InboundSettings",
    "LimitSettings",
    "ListenSettings",
    "MailSettings",
    "MetadataSettings",
    "PagesSettings",
    "PushSettings",
    "RelaySettings",
    "Section",
    "StoreSettings",
    "SubmissionSettings",
    "load",
    "load_or_exit",
    "parse",
    "place",
]
