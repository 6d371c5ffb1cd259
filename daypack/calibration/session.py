"""Measure a device through a launcher and put what was found into its profile."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from daypack.calibration.fit import Rates, half_rate, product_rates, rates_of
from daypack.calibration.processors import masks_of
from daypack.calibration.programs import Sizes, write_block, write_half, write_pages
from daypack.calibration.readings import Place, Reading, read
from daypack.devices import (
    Cluster,
    Figure,
    FigureKind,
    Kernels,
    Profile,
    Reached,
    load_profile,
    profile_text,
)
from daypack.errors import SpecError
from daypack.runtime.launch import Launcher, launcher

STEPS = 3
LOW_CLAMP = 512
"""The one cap beside none that is tried: half of the strongest processor."""
EMULATED = "calibrated under an emulator, so its times say nothing of a device"
OnPlace = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A corrected profile. `source` says whether its new figures are measured or emulated; `kept` why a
    figure stayed as it was, by its key; `products` the operations a second of each matrix product, all cores.
    """

    profile: Profile
    source: str
    kept: Mapping[str, str]
    products: Mapping[str, float]


@dataclass(slots=True)
class _Session:
    """What one calibration knows while it goes on."""

    profile: Profile
    launcher: Launcher
    steps: int
    tell: OnPlace
    date: str
    source: str = FigureKind.MEASURED.value
    kept: dict[str, str] = field(default_factory=dict[str, str])

    def figure(self, value: float, what: str) -> Figure:
        return Figure(value, f"daypack calibrate {self.date}: {what}", FigureKind(self.source))

    def read(self, bundle: Path, place: Place, *, direct: bool = False) -> Reading:
        found = read(self.launcher, bundle, place, steps=self.steps, direct=direct)
        self.source = found.source
        return found


def calibrate(
    device: str,
    *,
    out: Path,
    via: str = "local",
    steps: int = STEPS,
    sizes: Sizes | None = None,
    on_place: OnPlace = lambda _place, _fraction: None,
) -> Calibrated:
    """Measure `device` (a name or a path of a profile) through `via` and write the profile `out`.

    Raises:
        SpecError: the device is unknown, `out` is no path of a profile, or the clock is too coarse.
        MissingTool, Stopped, BundleError: as running says.
    """
    if out.suffix != ".toml":
        raise SpecError(f"--out: expected a path that ends in .toml, found {str(out)!r}")
    if not out.absolute().parent.is_dir():
        raise SpecError(f"--out: expected a path in a folder that exists, found {str(out)!r}")
    profile, sizes = load_profile(device), sizes or Sizes()
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    session = _Session(profile, launcher(via), steps, on_place, date)
    with tempfile.TemporaryDirectory(prefix="daypack-calibrate-", dir=out.absolute().parent) as name:
        on_place("compile", 0.0)
        block = write_block(Path(name), sizes, profile)
        pages = write_pages(Path(name), sizes, profile)
        on_place(f"kernels, {profile.cores} threads", 0.2)
        whole = session.read(block, Place(profile.cores)).kernels
        rates = rates_of(whole)
        measured = _with_kernels(session, block, rates)
        measured = _with_half(session, measured, Path(name), sizes, rates)
        measured = _with_files(session, measured, pages)
    if session.source == FigureKind.EMULATED.value:
        measured = replace(measured, title=f"{measured.title} ({EMULATED})")
    _write(out, measured, session)
    return Calibrated(measured, session.source, session.kept, product_rates(whole, rates))


def _with_kernels(session: _Session, block: Path, rates: Rates) -> Profile:
    """The profile with the rates of all its cores, and of each cluster where it can be told apart."""
    profile = session.profile
    figure = session.figure(rates.memory_bytes_per_s, "update of a long array")
    return replace(
        profile,
        memory=replace(profile.memory, bytes_per_s=figure),
        kernels=_kernels(session, rates),
        clusters=tuple(_clusters(session, block, rates)),
    )


def _kernels(session: _Session, rates: Rates) -> Kernels:
    rows = rates.rows_flops_per_s
    if rows is None:
        session.kept["kernels.rows_flops_per_s"] = "no norm and no softmax was long enough to be timed"
    return Kernels(
        products_flops_per_s=session.figure(rates.products_flops_per_s, "products of a transformer block"),
        rows_flops_per_s=session.profile.kernels.rows_flops_per_s
        if rows is None
        else session.figure(rows, "norms and softmax of a transformer block"),
        elements_flops_per_s=session.figure(rates.elements_flops_per_s, "the quickest update or activation"),
        half_products_flops_per_s=session.profile.kernels.half_products_flops_per_s,
        call_s=session.figure(rates.call_s, "updates of tiny arrays"),
    )


def _with_half(session: _Session, profile: Profile, folder: Path, sizes: Sizes, rates: Rates) -> Profile:
    """The profile with the rate of float16 products, where the device computes in float16."""
    if not profile.half_arithmetic:
        session.kept["kernels.half_products_flops_per_s"] = "the device does not compute in float16"
        return profile
    session.tell("float16", 0.75)
    found = session.read(write_half(folder, sizes, session.profile), Place(profile.cores))
    figure = session.figure(half_rate(found.kernels, rates), "float16 products")
    return replace(profile, kernels=replace(profile.kernels, half_products_flops_per_s=figure))


def _clusters(session: _Session, block: Path, rates: Rates) -> Iterator[Cluster]:
    clusters = session.profile.clusters
    masks = masks_of(clusters, session.launcher.system_file)
    for place, cluster in enumerate(clusters):
        if masks is None:
            session.kept[f"cluster {cluster.name}: products"] = (
                "the device does not tell which processors are its own"
            )
            yield cluster
        else:
            session.tell(f"cluster {cluster.name}", 0.3 + 0.4 * place / len(clusters))
            yield replace(cluster, products=tuple(_products(session, block, cluster, masks[place], rates)))


def _products(
    session: _Session, block: Path, cluster: Cluster, cpus: int | None, rates: Rates
) -> Iterator[Reached]:
    """One thread to one a core, and all of them under a cap where the kernel obeys it."""
    whole = len(session.profile.clusters) == 1
    for threads in range(1, cluster.cores + 1):
        if whole and threads == cluster.cores:
            value = rates.products_flops_per_s
        else:
            found = session.read(block, Place(threads, cpus))
            value = rates_of(found.kernels).products_flops_per_s
        what = f"products of a transformer block, {threads} threads"
        yield Reached(threads, 1024, session.figure(value, what))
    capped = session.read(block, Place(cluster.cores, cpus, LOW_CLAMP))
    if not capped.capped:
        session.kept[f"cluster {cluster.name}: products under a cap"] = (
            "the device lets no process cap its clock"
        )
        return
    value = rates_of(capped.kernels).products_flops_per_s
    what = f"products of a transformer block, {cluster.cores} threads, utilization capped"
    yield Reached(cluster.cores, LOW_CLAMP, session.figure(value, what))


def _with_files(session: _Session, profile: Profile, pages: Path) -> Profile:
    """The profile with the speeds of flash and of the system's cache before it."""
    flash, cache = profile.flash, profile.page_cache
    for direct in (True, False):
        key = "flash" if direct else "page_cache"
        session.tell("files past the cache" if direct else "files through the cache", 0.8 if direct else 0.9)
        try:
            found = session.read(pages, Place(profile.cores), direct=direct)
        except SpecError as error:
            session.kept[f"{key}.read_bytes_per_s"] = session.kept[f"{key}.write_bytes_per_s"] = error.message
            continue
        how = "past the system's cache" if direct else "through the system's cache"
        speeds = _speeds(session, found, key, how)
        if direct:
            flash = replace(flash, **speeds)
        else:
            cache = replace(cache, **speeds)
    return replace(profile, flash=flash, page_cache=cache)


def _speeds(session: _Session, found: Reading, key: str, how: str) -> dict[str, Figure]:
    """The fields of `Flash` and `PageCache` that a run of the paged program tells."""
    speeds: dict[str, Figure] = {}
    ways = (
        ("read_bytes_per_s", found.fetched_bytes, found.fetch_seconds, "sequential reads"),
        ("write_bytes_per_s", found.stored_bytes, found.store_seconds, "sequential writes, synced"),
    )
    for name, moved_bytes, seconds, what in ways:
        if moved_bytes > 0 and seconds > 0:
            speeds[name] = session.figure(moved_bytes / seconds, f"{what}, {how}")
        else:
            session.kept[f"{key}.{name}"] = "the plan transferred nothing"
    return speeds


def _write(out: Path, profile: Profile, session: _Session) -> None:
    note = (
        f"{session.profile.name}, corrected by daypack calibrate on {session.date}: {session.source} figures"
    )
    lines = [note, *(f"not measured: {key}: {' '.join(why.split())}" for key, why in session.kept.items())]
    partial = out.with_name(out.name + ".partial")
    try:
        partial.write_text(profile_text(profile, "\n# ".join(lines)), "utf-8")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SpecError(f"{out}: cannot write the profile: {error.strerror}") from error
