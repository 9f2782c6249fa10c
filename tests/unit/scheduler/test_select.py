"""Which host is chosen, and what is said when none will do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.core.errors import NoValidHost
from floe.core.hosts import Host
from floe.core.resources import Inventory, Resources
from floe.core.server_groups import ServerGroup
from floe.core.servers import Server, ServerFlavor
from floe.scheduler.filters import capacity
from floe.scheduler.hosts import HostTable
from floe.scheduler.select import CHUNK, NAMED, choose, fitting, select
from floe.scheduler.spec import RequestSpec, spec_of
from floe.scheduler.weighers import Multipliers

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def host(name: str, *, vcpus: int = 8, memory: int = 4096, disk: int = 100, **values: object) -> Host:
    made = Host(
        name=name,
        hypervisor_type="QEMU",
        inventories=(
            Inventory(resource_class="VCPU", total=vcpus, max_unit=vcpus),
            Inventory(resource_class="MEMORY_MB", total=memory),
            Inventory(resource_class="DISK_GB", total=disk),
        ),
        cpu_info={"arch": "x86_64"},
        created_at=NOW,
        updated_at=NOW,
        started_at=NOW,
        last_seen=NOW,
    )
    return replace(made, **values)  # type: ignore[arg-type]


def group(policy: str, max_per_host: int | None = None) -> ServerGroup:
    return ServerGroup(
        id="g", project_id="p", user_id="u", name="g", policy=policy, max_per_host=max_per_host, created_at=NOW
    )


SMALL = RequestSpec(resources=Resources(1, 1024, 1))


def reason(spec: RequestSpec, table: HostTable) -> NoValidHost:
    with pytest.raises(NoValidHost) as found:
        select(spec, table, 0)
    return found.value


def test_the_same_seed_chooses_the_same_host() -> None:
    table = HostTable(host(f"h{number}") for number in range(50))
    assert select(SMALL, table, 7) == select(SMALL, table, 7)
    assert len({select(SMALL, table, seed).host for seed in range(50)}) > 10


def test_the_emptiest_host_is_chosen_and_packing_chooses_the_fullest() -> None:
    table = HostTable([host("full", used=Resources(4, 3000, 50)), host("empty")])
    assert select(SMALL, table, 0).host == "empty"
    packing = Multipliers(cpu=-1.0, memory=-1.0, disk=-1.0)
    chosen = select(SMALL, table, 0, multipliers=packing)
    assert chosen.names == ("full", "empty")


def test_a_host_on_which_builds_failed_is_chosen_last() -> None:
    table = HostTable([host("a", used=Resources(1, 100, 0)), host("b")])
    table.note_failure("b", failed=True)
    assert select(SMALL, table, 0).host == "a"
    table.note_failure("b", failed=False)
    assert select(SMALL, table, 0).host == "b"


def test_the_refusal_names_counts_for_users_and_hosts_for_administrators() -> None:
    table = HostTable(
        [
            host("a", memory=512),
            host("b", memory=300),
            host("c", enabled=False, disabled_reason="new disks"),
        ]
    )
    error = reason(RequestSpec(resources=Resources(1, 2048, 1)), table)
    assert error.message == (
        "No valid host: 3 hosts considered; 1 is disabled; 2 lack memory (2048 MiB asked, at most 512 MiB free)."
    )
    assert error.reasons == {
        "a": "memory: 2048 MiB asked, 512 MiB free of 512 MiB",
        "b": "memory: 2048 MiB asked, 300 MiB free of 300 MiB",
        "c": "it is disabled: new disks",
    }
    assert not any(name in error.message for name in ("new disks", " a ", " b "))


def test_of_many_hosts_the_nearest_are_named_and_the_others_counted() -> None:
    hosts = [host(f"h{number}", vcpus=1 + number % 8, enabled=number % 2 > 0) for number in range(1000)]
    error = reason(RequestSpec(resources=Resources(16, 1024, 1)), HostTable(hosts))
    assert error.message == (
        "No valid host: 1000 hosts considered; 500 are disabled; 500 lack vCPUs (16 asked, at most 8 free)."
    )
    assert len(error.reasons) == NAMED
    assert set(error.reasons.values()) == {"vCPUs: 16 asked, 8 free of 8"}
    assert error.others == "980 other hosts: 500 are disabled; 480 lack vCPUs (16 asked, at most 8 free)"


def test_hosts_that_were_tried_are_named_before_those_that_came_nearest() -> None:
    table = HostTable(host(f"h{number}", memory=512) for number in range(1000))
    error = reason(replace(SMALL, excluded={"h7": "it broke"}), table)
    assert next(iter(error.reasons.items())) == ("h7", "it was tried: it broke")
    assert len(error.reasons) == NAMED


def test_a_refusal_is_short_whatever_was_asked() -> None:
    asked = frozenset(f"CUSTOM_{number}_{'X' * 200}" for number in range(300))
    table = HostTable(host(f"h{number}") for number in range(1000))
    error = reason(replace(SMALL, required=asked), table)
    assert len(error.message) < 500
    assert len(error.others) < 400
    assert error.message.endswith(".")


_NAMES = st.sampled_from([f"h{number}" for number in range(12)] + ["gone"])


@given(st.sets(_NAMES), st.dictionaries(_NAMES, st.integers(1, 3)), st.lists(_NAMES, max_size=5))
def test_columns_by_name_are_what_a_loop_over_hosts_would_find(
    marked: set[str], values: dict[str, int], removed: list[str]
) -> None:
    table = HostTable(host(f"h{number}") for number in range(12))
    for name in removed:
        table.remove(name)
    assert list(table.marked(marked)) == [name in marked for name in table.names]
    assert list(table.column(values)) == [values.get(name, 0) for name in table.names]


_DISABLED = HostTable(host(f"h{number}", enabled=False) for number in range(CHUNK * 5 + 1))


@given(st.sets(st.integers(0, CHUNK * 5), max_size=3), st.integers(0, 2**32 - 1))
def test_each_host_of_a_large_table_is_looked_at_once(free: set[int], seed: int) -> None:
    table = _DISABLED.trial()
    for row in free:
        table.enabled[row] = True
    chosen = choose(SMALL, table, seed)
    if not free:
        assert chosen is None
    else:
        assert chosen is not None
        assert (chosen.considered, chosen.fitting) == (CHUNK * 5 + 1, len(free))
        assert set(chosen.names) == {f"h{row}" for row in free}


def test_a_row_tells_whether_it_changed() -> None:
    table = HostTable()
    assert table.put(host("a"))
    assert not table.put(host("a"))
    assert table.put(host("a", used=Resources(1, 0, 0)))
    assert table.put(host("a", used=Resources(1, 0, 0)), up=False)
    table.take("a", Resources(1, 0, 0))
    assert table.put(host("a", used=Resources(1, 0, 0)), up=False)


def test_a_server_larger_than_one_host_may_give_says_so() -> None:
    two = Inventory(resource_class="VCPU", total=2, allocation_ratio=4.0, max_unit=2)
    table = HostTable([host("a", inventories=(two,))])
    error = reason(RequestSpec(resources=Resources(4, 0, 0)), table)
    assert error.reasons == {"a": "vCPUs: 4 asked, one server may take 2 at most"}


def test_no_hosts_and_no_such_host_are_told_apart() -> None:
    assert "no hosts" in reason(SMALL, HostTable()).message
    assert "no host 'x'" in reason(replace(SMALL, host="x"), HostTable([host("a")])).message


def test_a_host_asked_for_by_name_may_be_disabled_but_must_be_up() -> None:
    table = HostTable([host("a", enabled=False), host("b")])
    assert select(replace(SMALL, host="a"), table, 0).host == "a"
    table.set_up("a", False)
    assert reason(replace(SMALL, host="a"), table).reasons["a"] == "it is down"


@pytest.mark.parametrize(
    ("spec", "chosen"),
    [
        (replace(SMALL, zone="west"), ["b"]),
        (replace(SMALL, required=frozenset({"FAST"})), ["a"]),
        (replace(SMALL, forbidden=frozenset({"FAST"})), ["b"]),
        (replace(SMALL, required=frozenset({"UNHEARD_OF"})), []),
        (replace(SMALL, forbidden=frozenset({"UNHEARD_OF"})), ["a", "b"]),
        (replace(SMALL, architecture="aarch64"), ["b"]),
        (replace(SMALL, hypervisor_type="kvm"), ["a", "b"]),
        (replace(SMALL, hypervisor_type="xen"), []),
        (replace(SMALL, same_hosts=frozenset({"a"})), ["a"]),
        (replace(SMALL, same_hosts=frozenset()), []),
        (replace(SMALL, different_hosts=frozenset({"a"})), ["b"]),
        (replace(SMALL, group=group("affinity"), group_hosts={"a": 1}), ["a"]),
        (replace(SMALL, group=group("affinity")), ["a", "b"]),
        (replace(SMALL, group=group("anti-affinity"), group_hosts={"a": 1}), ["b"]),
        (replace(SMALL, group=group("anti-affinity", 2), group_hosts={"a": 1}), ["a", "b"]),
        (replace(SMALL, group=group("anti-affinity", 3), group_hosts={"a": 3, "b": 2}), ["b"]),
        (replace(SMALL, group=group("anti-affinity", 3), group_hosts={"a": 4, "b": 3}), []),
        (replace(SMALL, excluded={"a": "it broke"}), ["b"]),
        (replace(SMALL, extra_classes={"CUSTOM_GPU": 1}), []),
    ],
)
def test_each_filter_keeps_what_fits(spec: RequestSpec, chosen: list[str]) -> None:
    table = HostTable(
        [
            host("a", traits=("FAST",), availability_zone="east"),
            host("b", traits=("SLOW",), availability_zone="west", cpu_info={"arch": "aarch64"}),
        ]
    )
    assert fitting(spec, table) == chosen
    if not chosen:
        assert set(reason(spec, table).reasons) == {"a", "b"}


def test_a_full_group_is_named_with_its_rule() -> None:
    spec = replace(SMALL, group=group("anti-affinity", 2), group_hosts={"a": 2, "b": 2})
    error = reason(spec, HostTable([host("a"), host("b")]))
    assert error.message == (
        "No valid host: 2 hosts considered; 2 are ruled out by the server group's policy anti-affinity "
        "(at most 2 of its servers on a host)."
    )
    assert error.reasons["a"] == "anti-affinity: 2 of the group are there, at most 2 may be"


@pytest.mark.parametrize(("policy", "chosen"), [("soft-affinity", "a"), ("soft-anti-affinity", "b")])
def test_a_soft_policy_prefers_and_does_not_forbid(policy: str, chosen: str) -> None:
    table = HostTable([host("a"), host("b")])
    spec = replace(SMALL, group=group(policy), group_hosts={"a": 1})
    selection = select(spec, table, 0)
    assert selection.host == chosen
    assert len(selection.names) == 2


def test_a_large_table_is_not_looked_at_whole_and_yet_nothing_is_missed() -> None:
    count = CHUNK * 5
    table = HostTable(host(f"h{number}", memory=512 if number else 4096) for number in range(count))
    assert select(SMALL, table, 3 * CHUNK).host == "h0"
    spacious = HostTable(host(f"h{number}") for number in range(count))
    assert select(SMALL, spacious, 3 * CHUNK).considered == CHUNK


def test_a_removed_host_is_gone_and_the_others_keep_what_they_have() -> None:
    table = HostTable([host("a"), host("b", memory=100), host("c", traits=("X",))])
    table.remove("a")
    assert fitting(replace(SMALL, required=frozenset({"X"})), table) == ["c"]
    assert sorted(table.names) == ["b", "c"]
    assert "memory" in reason(replace(SMALL, excluded={"c": "-"}), table).reasons["b"]


def test_more_traits_than_a_word_has_bits_are_told_apart() -> None:
    names = [f"T{number}" for number in range(150)]
    table = HostTable(host(f"h{number}", traits=(name,)) for number, name in enumerate(names))
    assert fitting(replace(SMALL, required=frozenset({"T149"})), table) == ["h149"]


def test_a_spec_is_read_from_flavor_image_and_hints() -> None:
    server = Server(
        id="s",
        number=1,
        project_id="p",
        user_id="u",
        name="n",
        hostname="n",
        vm_state="building",
        reservation_id="r",
        flavor=ServerFlavor(
            flavor_id="1",
            name="f",
            vcpus=2,
            memory_mib=64,
            root_gib=3,
            ephemeral_gib=4,
            swap_mib=1025,
            extra_specs={
                "trait:A": "required",
                "trait:B": "forbidden",
                "resources:VCPU": "9",
                "resources:FPGA": "1",
                "quota:vif_inbound_average": "100",
            },
        ),
        image_properties={
            "hw_architecture": "amd64",
            "img_hv_type": "KVM",
            "trait:C": "required",
            "hw_firmware_type": "uefi",
        },
        scheduler_hints={"same_host": "x", "different_host": ["y", "z"]},
        created_at=NOW,
    )
    spec = spec_of(server, hint_hosts={"x": "h1", "y": "h2"})
    assert spec.resources == Resources(2, 64, 9)
    assert spec.required == {"A", "C", "CUSTOM_FIRMWARE_UEFI", "CUSTOM_NIC_LIMITS"}
    assert spec.forbidden == {"B"}
    assert (spec.architecture, spec.hypervisor_type) == ("x86_64", "kvm")
    assert (spec.same_hosts, spec.different_hosts) == (frozenset({"h1"}), frozenset({"h2"}))
    assert spec.extra_classes == {"FPGA": 1}


_HOSTS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(0, 8), st.booleans(), st.booleans(), st.sampled_from(["n", "m"])),
    max_size=12,
)


@given(_HOSTS, st.integers(1, 8), st.sampled_from([None, "n", "m"]), st.integers(0, 2**32 - 1))
def test_what_is_chosen_fits_and_what_is_not_has_a_reason(
    rows: list[tuple[int, int, bool, bool, str]], asked: int, zone: str | None, seed: int
) -> None:
    table = HostTable()
    good = set()
    for number, (vcpus, used, enabled, up, where) in enumerate(rows):
        item = host(f"h{number}", vcpus=vcpus, used=Resources(used, 0, 0), enabled=enabled, availability_zone=where)
        table.put(item, up=up)
        if used + asked <= vcpus and enabled and up and zone in {None, where}:
            good.add(item.name)
    spec = RequestSpec(resources=Resources(asked, 0, 0), zone=zone)
    try:
        selection = select(spec, table, seed)
    except NoValidHost as error:
        assert not good
        assert set(error.reasons) == set(table.names)
        assert all(error.reasons.values())
    else:
        assert set(selection.names) <= good
        assert len(selection.names) == min(4, len(good))


def test_an_image_asks_the_same_by_its_old_names() -> None:
    server = Server(
        id="s", number=0, project_id="p", user_id="u", name="n", hostname="n", vm_state="building",
        reservation_id="r", created_at=NOW,
        flavor=ServerFlavor(flavor_id="1", name="f", vcpus=1, memory_mib=1, root_gib=1),
        image_properties={"architecture": "X64", "hypervisor_type": "QEMU"},
    )  # fmt: skip
    spec = spec_of(server)
    assert (spec.architecture, spec.hypervisor_type) == ("x86_64", "qemu")


def test_what_a_flavor_asks_of_a_group_of_resources_is_asked_of_the_host() -> None:
    specs = {"trait1:CUSTOM_GOLD": "required", "resources_net:CUSTOM_BW": "2", "resources:CUSTOM_BW": "1"}
    server = Server(
        id="s", number=0, project_id="p", user_id="u", name="n", hostname="n", vm_state="building",
        reservation_id="r", created_at=NOW,
        flavor=ServerFlavor(flavor_id="1", name="f", vcpus=1, memory_mib=1, root_gib=1, extra_specs=specs),
    )  # fmt: skip
    spec = spec_of(server)
    assert spec.required == {"CUSTOM_GOLD"}
    assert spec.extra_classes == {"CUSTOM_BW": 3}


def test_what_is_taken_on_trial_is_not_taken_of_the_table() -> None:
    table = HostTable([host("a"), host("b")])
    trial = table.trial()
    trial.take("a", Resources(8, 4096, 100))
    trial.remove("b")
    with pytest.raises(NoValidHost):
        select(SMALL, trial, 0)
    assert fitting(SMALL, table) == ["a", "b"]


AMOUNT = st.integers(0, 6)
INVENTORY = st.builds(
    Inventory,
    resource_class=st.just("VCPU"),
    total=AMOUNT,
    min_unit=AMOUNT,
    max_unit=AMOUNT,
    step_size=st.integers(0, 3),
)


@given(offers=st.lists(st.tuples(INVENTORY, AMOUNT), min_size=1, max_size=5), asked=st.integers(1, 6))
def test_a_host_has_a_reason_if_and_only_if_it_is_rejected(offers: list[tuple[Inventory, int]], asked: int) -> None:
    table = HostTable(
        host(f"h{number}", inventories=(offer,), used=Resources(used, 0, 0))
        for number, (offer, used) in enumerate(offers)
    )
    spec = RequestSpec(resources=Resources(asked, 0, 0))
    rows = table.rows(table.names)
    kept = capacity.keep(spec, table)(rows).tolist()
    assert [capacity.reason(spec, table, int(row)) == "" for row in rows] == kept
    fits = [
        used + asked <= offer.capacity
        and offer.min_unit <= asked <= offer.max_unit
        and asked % max(offer.step_size, 1) == 0
        for offer, used in offers
    ]
    assert kept == fits
