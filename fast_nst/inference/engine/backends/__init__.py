"""Engines that run a folded network, behind one small interface; `choice` picks one."""
