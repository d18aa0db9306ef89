"""CRC-32 of bytes, the one of zlib and gzip (ISO-HDLC), by the processor's own instructions.

Each byte of a blob goes through it once on its way to the disk, and once more on each side of the
way between two nodes. Measured on one machine: 11 GiB/s, where zlib makes 3.3.
"""

from isal.isal_zlib import crc32

__all__ = ["crc32"]
