"""Lungline on a real cluster: run by `make test-cluster` where LUNGLINE_TEST_KUBECONTEXT names one."""
