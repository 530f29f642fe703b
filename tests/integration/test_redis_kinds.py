"""The store does the same on a cluster, with TLS, and behind Sentinels as on a plain server.

The tests of the store itself are run here anew, against each kind of Redis.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from stream.settings import RedisSettings
from stream.store import Store
from tests.integration.redis_servers import Certificates, RedisServer, cluster_of, until
from tests.stream.test_lease import (  # noqa: F401 - they run here too
    test_it_ends_by_itself_unless_it_is_renewed,
    test_one_holds_it_until_he_gives_it_up,
    test_one_that_ran_out_is_taken_again_where_nobody_else_has_it,
    test_one_that_somebody_else_has_is_lost_and_not_given_up_for_him,
)
from tests.stream.test_store import (  # noqa: F401 - they run here too
    test_a_forgotten_script_is_loaded_again,
    test_a_reader_left_behind_by_the_feed_learns_of_the_gap,
    test_a_refused_command_is_a_store_error,
    test_a_stamp_of_another_partition_is_written,
    test_a_value_without_stamp_is_replaced,
    test_an_equal_or_newer_stamp_is_written,
    test_an_older_stamp_is_refused_and_reported,
    test_changes_are_read_once_and_in_order,
    test_every_write_has_a_life,
    test_get_many_keeps_order_over_several_chunks,
    test_health_tells_what_doctor_shows,
    test_none_deletes,
    test_of_many_only_the_older_are_refused,
    test_of_one_key_the_last_of_a_batch_stays,
    test_one_value_of_another_type_is_a_store_error,
    test_scan_gives_names_and_values_of_one_kind,
)

_prefixes = itertools.count()

SENTINEL = """
sentinel monitor shop 127.0.0.1 {port} 1
sentinel down-after-milliseconds shop 1000
sentinel auth-pass shop data-secret
requirepass sentinel-secret
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls") / "files")


def _cluster(home: Any, certificates: Certificates) -> tuple[list[RedisServer], dict[str, Any]]:
    servers = cluster_of(home, 3, 0)
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers[:2])
    return servers, {"url": f"redis+cluster://{hosts}"}


def _tls_cluster(home: Any, certificates: Certificates) -> tuple[list[RedisServer], dict[str, Any]]:
    servers = cluster_of(home, 3, 0, certificates)
    url = f"rediss+cluster://127.0.0.1:{servers[1].port}"
    return servers, {"url": url, **certificates.settings}


def _tls(home: Any, certificates: Certificates) -> tuple[list[RedisServer], dict[str, Any]]:
    server = RedisServer(home / "one", certificates=certificates)
    return [server], {"url": f"rediss://127.0.0.1:{server.port}/0", **certificates.settings}


def _sentinel(home: Any, certificates: Certificates) -> tuple[list[RedisServer], dict[str, Any]]:
    server = RedisServer(home / "one", "--requirepass", "data-secret")
    sentinel = RedisServer(home / "sentinel", sentinel=SENTINEL.format(port=server.port))
    asked = sentinel.client(password="sentinel-secret")
    until(lambda: asked.sentinel_master("shop")["is_master"], "the Sentinel knows no master")
    asked.close()
    url = f"redis+sentinel://:data-secret@127.0.0.1:{sentinel.port}/shop/2"
    return [server, sentinel], {"url": url, "sentinel_password": "sentinel-secret"}


KINDS = {"cluster": _cluster, "tls": _tls, "tls-cluster": _tls_cluster, "sentinel": _sentinel}


@pytest.fixture(scope="module", params=KINDS)
def reach(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Any]]:
    """Settings that reach one kind of Redis."""
    servers, settings = KINDS[request.param](tmp_path_factory.mktemp("redis"), certificates)
    yield settings
    for server in servers:
        server.end()


@pytest.fixture
def store(reach: dict[str, Any]) -> Iterator[Store]:
    one = Store(RedisSettings(**reach, prefix=f"test{next(_prefixes)}", retry_s=5))
    yield one
    one.close()
