"""Patterns for PatternNet and PatternAttribution: what in its input a neuron detects, estimated from data.

A neuron's weights say how it filters the signal out of its input, not what the signal looks like. Its pattern
does: the direction in which the input varies with the output. Source: Kindermans et al., Learning how to explain
neural networks: PatternNet and PatternAttribution, ICLR 2018, arXiv 1705.05598.
"""

from rap_keras.patterns.computer import PatternComputer
from rap_keras.patterns.stored import Patterns

__all__ = ["PatternComputer", "Patterns"]
