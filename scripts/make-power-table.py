#!/usr/bin/env python3
"""Writes src/value/power_table.c: 128-bit upper approximations of the powers of ten that shortest formatting of doubles needs.

    scripts/make-power-table.py > src/value/power_table.c
"""
FIRST, LAST = -292, 324

print("/* power_table.c: written by scripts/make-power-table.py. Not for editing. */")
print("/* clang-format off */")
print('#include "value/power_table.h"\n')
print("const struct power_of_ten powers_of_ten[POWER_LAST - POWER_FIRST + 1] = {")
for k in range(FIRST, LAST + 1):
    n, d = (10**k, 1) if k >= 0 else (1, 10**-k)
    shift = 127 - (n.bit_length() - 1 if k >= 0 else -d.bit_length())  # 2^127 <= g < 2^128
    g = -(-(n << shift) // d) if shift >= 0 else -(-n // (d << -shift))
    if g >> 128:
        raise SystemExit("bad scale")
    if not g >> 127:
        raise SystemExit("bad scale")
    print("\t{0x%016x, 0x%016x}, /* %d */" % (g >> 64, g & (1 << 64) - 1, k))
print("};")
