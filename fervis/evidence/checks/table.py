"""The table of checks of measures."""

from __future__ import annotations

from fervis.evidence.checks.subject import MeasureSubject
from fervis.models.checks.table import CheckTable

MEASURE_CHECKS: CheckTable[MeasureSubject] = CheckTable()
of_measures = MEASURE_CHECKS.register
