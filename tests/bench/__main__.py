"""Runs every benchmark and fails where a speed promise is not kept."""

from __future__ import annotations

import sys

from tests.bench import (
    bench_audit,
    bench_catalog,
    bench_data_path,
    bench_drift,
    bench_frozen_features,
    bench_grad_cam,
    bench_hash_search,
    bench_image_store,
    bench_review,
    bench_scoring,
    bench_serving,
    bench_statistics,
    bench_training,
)

BENCHES = (
    bench_image_store,
    bench_data_path,
    bench_training,
    bench_frozen_features,
    bench_hash_search,
    bench_catalog,
    bench_statistics,
    bench_grad_cam,
    bench_audit,
    bench_review,
    bench_scoring,
    bench_serving,
    bench_drift,
)

if __name__ == "__main__":
    sys.exit(max(bench.main() for bench in BENCHES))
