"""Kernels and memory settings that make small networks fast on a CPU."""
