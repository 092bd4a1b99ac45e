"""The devnet's test wallet, asked to pay: never there beside coins that are worth something."""

import http.client
import json
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

ANSWER_S_MAX: Final = 15


class WalletError(Exception):
    """The wallet did not pay, or did not answer."""


def has_test_wallet() -> bool:
    """True on a devnet alone; with DEVNET on, the registry refuses any other network."""
    if not settings.DEVNET:
        return False
    url = urlsplit(settings.DEVNET_WALLET_URL)
    return url.scheme == "http" and url.hostname == "127.0.0.1" and "@" not in url.netloc


def pay_from_test_wallet(*, uri: str) -> None:
    """Have the wallet pay a BIP-21 or EIP-681 URI, once for each URI; raises WalletError."""
    url = urlsplit(settings.DEVNET_WALLET_URL)
    connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=ANSWER_S_MAX)
    try:
        connection.request("POST", url.path, json.dumps({"uri": uri}))
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise WalletError("It does not answer.") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise WalletError(f"It answered {answer.status}.")
