"""Watch the p-values of all policies of this process, and tell once when one of them has drifted."""

import logging
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from schemas.drift import Drift
from schemas.result import ItemResult
from worker.errors import TopicError
from worker.screening.drift_monitor import SUSTAINED, DriftMonitor, Window
from worker.screening.screener import Screener
from worker.topic.publisher import Publisher

log = logging.getLogger(__name__)

REMEDY = {
    "smaller": "Texts look more suspicious than the calibration's, and more are flagged than the budget says. Look at "
    "results with small p-values. Benign: recalibrate on recent benign texts (`alknet-firewall recalibrate`) and "
    "restart the workers with the new codebook. Attacks: keep the calibration.",
    "larger": "Texts look less suspicious than the calibration's: fewer are flagged than the budget says, and more "
    "attacks missed than need be. Recalibrate on recent benign texts (`alknet-firewall recalibrate`) and restart the "
    "workers with the new codebook.",
}


class DriftWatch:
    """Counts results as they are published.

    Args:
        screener: Its codebook and policies.
        publisher: Where a drift is told.
        texts: Texts of a window; see ``DriftMonitor``.
    """

    def __init__(self, screener: Screener, publisher: Publisher, texts: int):
        self._codebook = screener.codebook
        self._publisher = publisher
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._screener = screener
        self._texts = texts
        self._lock = threading.Lock()
        self._monitors: dict[str, DriftMonitor] = {}
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was counted: the policies are others now."""
        with self._lock:
            self._monitors = {name: self._monitor(name) for name in sorted(self._screener.policies)}

    def _monitor(self, policy: str) -> DriftMonitor:
        return DriftMonitor(
            texts=self._texts,
            above=max(self._screener.policy(policy).budgets.values()),
            calibrated_on=len(self._codebook.benign_scores),
            both_ways=self._codebook.header.own_traffic,
        )

    def note(self, results: Sequence[ItemResult]) -> None:
        """Count what was screened. Raises nothing: a job does not fail because nobody could be told."""
        with self._lock:
            departures = [
                (result.policy, monitor, window)
                for result in results
                if result.p_value is not None
                and (monitor := self._monitors.get(result.policy)) is not None  # the policy may have been taken away
                and (window := monitor.add(result.p_value)) is not None
            ]
        for policy, monitor, window in departures:
            self._tell(policy, monitor, window)

    def state(self) -> dict[str, Any]:
        """Return for every policy how far its window is filled, whether it has drifted, and its last window."""
        with self._lock:
            return {
                name: {
                    "counted": monitor.counted,
                    "texts": monitor.texts,
                    "drifted": monitor.drifted,
                    "last": asdict(monitor.last) if monitor.last else None,
                }
                for name, monitor in self._monitors.items()
            }

    def _tell(self, policy: str, monitor: DriftMonitor, window: Window) -> None:
        drift = Drift(
            codebook=self._codebook.fingerprint,
            policy=policy,
            worker=self._worker,
            direction=window.direction,
            distance=window.distance,
            tolerated=window.tolerated,
            windows=SUSTAINED,
            texts=monitor.texts,
            flagged=window.flagged,
            above=monitor.above,
            counts=list(window.counts),
            remedy=REMEDY[window.direction],
        )
        log.warning(
            "drift policy=%s codebook=%s: p-values are %s than calibrated, distance %.3f of %.3f tolerated, %d windows "
            "of %d texts in a row. %s",
            *(policy, drift.codebook, drift.direction, drift.distance, drift.tolerated, SUSTAINED, drift.texts),
            drift.remedy,
        )
        try:
            self._publisher.report(drift)
        except TopicError as error:
            log.warning("drift not published, it is said again at the next window: %s", error.message)
            with self._lock:
                monitor.unsaid()
