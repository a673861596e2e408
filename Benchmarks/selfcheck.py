#!/usr/bin/env python3
"""Tests of what the benchmarks compute with: callgrind's files, budgets, percentiles, reports. Nothing is started."""
import json
import pathlib
import tempfile
import types
import unittest
import unittest.mock

import callgrind
import instructions
import machine
import page
import report
import side_by_side

FILE = """# callgrind format
version: 1
positions: line
events: Ir

ob=(1) /usr/bin/program
fl=(1) ???
fn=(1) serve
0 100
cob=(2) /lib/libc.so.6
cfi=(1)
cfn=(2) malloc
calls=%(calls)d 0
0 50
+3 7
cfn=(3) helper
calls=1 0
* 20
ob=(2)
fn=(2)
0 50
fn=(4) 0x0000000000012345
0 9
fn=(5) 0x0000000000054321
0 1

ob=(1)
fn=(3)
0 %(helper)d

totals: 0
"""


def profile(**values):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "out-01"
        path.write_text(FILE % values)
        return callgrind.read(path)


class CallgrindTests(unittest.TestCase):
    def test_costs_are_own_and_calls_are_counted(self):
        read = profile(calls=4, helper=20)
        self.assertEqual(read.costs, {"serve": 107, "malloc": 50, "helper": 20, "libc.so.6, no name": 10})
        self.assertEqual(read.calls, {"malloc": 4, "helper": 1})
        self.assertEqual((read.total, read.allocations), (187, 4))

    def test_slope_is_of_a_request(self):
        slope = profile(calls=4, helper=20).slope(profile(calls=10, helper=320), 3)
        self.assertEqual((slope.total, slope.costs["helper"], slope.costs["serve"]), (100, 100, 0))
        self.assertEqual(slope.allocations, 2)

    def test_specialized_copies_are_one_function(self):
        self.assertEqual(callgrind.plain("specialized Worker.turn()"), "Worker.turn()")
        self.assertEqual(callgrind.plain("merged generic specialization <A, B> of Slab.take()"), "Slab.take()")
        self.assertEqual(callgrind.plain("Worker.turn()"), "Worker.turn()")


BUDGET = {"instructions": 1000, "tolerance": 0.02, "allocations": 0, "allocations_tolerance": 0.05,
          "functions": {"a": 600, "b": 390}}


class BudgetTests(unittest.TestCase):
    def test_only_what_exceeds_the_tolerance_is_a_complaint(self):
        cases = [(1020, 0.05, 0), (900, 0, 0), (1021, 0, 1), (1000, 0.06, 1), (2000, 1, 2)]
        for instructions_, allocations, count in cases:
            figures = {"instructions": instructions_, "allocations": allocations}
            self.assertEqual(len(instructions.complaints(figures, BUDGET)), count, figures)

    def test_the_function_that_grew_is_named_first(self):
        grown = instructions.growths({"a": 610, "b": 500, "new": 40, "small": 2}, BUDGET, 10)
        self.assertEqual([(name, change) for name, _, _, change in grown], [("b", 110), ("new", 38), ("a", 10)])

    def test_every_gate_has_a_budget_with_a_reason(self):
        budgets = json.loads(instructions.BUDGETS.read_text())["scenarios"]
        self.assertEqual(set(budgets), set(instructions.GATES))
        for key, budget in budgets.items():
            self.assertTrue(budget["why"] and budget["functions"] and 0 < budget["tolerance"] <= 0.05, key)

    def test_the_middle_run_counts(self):
        runs = [{"S1": {"instructions": value}} for value in (9, 1, 5)]
        self.assertEqual(instructions.middle(runs)["S1"]["instructions"], 5)


class CalmTests(unittest.TestCase):
    def measured(self, kind, *outcomes):
        """What counts of these attempts, and how many were made."""
        left = [dict({"foreign": 0, "stolen": 0, "errors": 0}, **outcome) for outcome in outcomes]
        options = types.SimpleNamespace(seconds=1, martlet="")
        scenario = types.SimpleNamespace(kind=kind)
        with unittest.mock.patch.object(side_by_side, "measure", lambda *_: left.pop(0)):
            outcome = side_by_side.measure_quietly("relay", scenario, options, None)
        return outcome, len(outcomes) - len(left)

    def test_a_calm_measurement_is_not_repeated(self):
        outcome, count = self.measured("load", {"cost": 1, "stolen": 0.1}, {"cost": 2})
        self.assertEqual((outcome["cost"], count), (1, 1))

    def test_the_calmest_counts(self):
        disturbed = [{"cost": 1, "stolen": 0.3}, {"cost": 2, "stolen": 0.1, "foreign": 0.1}]
        outcome, count = self.measured("load", *disturbed, {"cost": 3})
        self.assertEqual((outcome["cost"], count), (2, 2))

    def test_a_paced_load_needs_calm_requests_only(self):
        outcome, count = self.measured("paced", {"calm": 10}, {"calm": 5_000, "stolen": 0.5}, {"calm": 9_000})
        self.assertEqual((outcome["calm"], count), (5_000, 2))
        self.assertIsNone(side_by_side.complaint(outcome))
        self.assertIn("calm", side_by_side.complaint({"calm": 10, "errors": 0}))


class ReportTests(unittest.TestCase):
    def test_percentiles(self):
        values = list(range(1, 1001))
        found = [machine.percentile(values, percent) for percent in (50, 99, 99.9, 100)]
        self.assertEqual(found, [500, 990, 999, 1000])
        self.assertEqual(machine.percentile([7], 99.9), 7)

    def test_axes_begin_at_zero_and_reach_the_highest_value(self):
        for highest in (0.07, 0.9, 1, 25.79, 100, 123456, 0):
            ticks = page.steps(highest)
            self.assertEqual(ticks[0], 0)
            self.assertGreaterEqual(ticks[-1], highest * 0.999999)
            self.assertLessEqual(len(ticks), 7, highest)

    def test_gates_become_columns(self):
        load = {"id": "S1", "kind": "load", "columns": ["proxy"], "rows": [["martlet"], ["martlet-queue"], ["nginx"]]}
        data = {"S1": {"candidate": "martlet", "instructions": 7500.2, "allocations": 0},
                "S1q": {"candidate": "martlet-queue", "instructions": 7400, "allocations": 0}}
        report.add_gates({"parts": [load, {"id": "gates", "kind": "gates", "data": data}]})
        wanted = [["martlet", "7500", "0.00"], ["martlet-queue", "7400", "0.00"], ["nginx", "", ""]]
        self.assertEqual(load["rows"], wanted)

    def test_a_page_says_everything_and_loads_nothing(self):
        bars = [{"name": "martlet", "value": 2, "low": 1, "high": 3, "note": "<note>"}]
        part = {"id": "S1", "kind": "load", "title": "title & more", "text": ["some `code`"],
                "columns": ["proxy", "cost"], "rows": [["martlet", "2.00"]], "lost": ["nginx, round 1: failed"],
                "charts": [{"title": "cost", "unit": "µs", "digits": 2, "bars": bars}]}
        of = {"commit": "c0ffee", "day": "today", "cpus": 2, "model": "a CPU", "kernel": "6"}
        text = page.html({"machine": of, "parts": [part]})
        for wanted in ["title &amp; more", "&lt;note&gt;", "<code>code</code>", "nginx, round 1", "c0ffee", "2.00"]:
            self.assertIn(wanted, text)
        for banned in ["<script", "src=", "http://", "https://", "url("]:
            self.assertNotIn(banned, text)


if __name__ == "__main__":
    unittest.main(verbosity=0)
