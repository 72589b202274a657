"""Enclave image files (EIF): read, measure, build and compare them anywhere, without an enclave or AWS.

``nitro-cli`` builds an image file on an instance and prints its measurements, PCR0, PCR1, PCR2 and PCR8. This package
computes the same values from a file, or from a container image and the kernel's files, on any machine.

Internal, except for what ``nitro_attestation`` exports. The modules, from the file to its content:

- ``eif_format``: the header and the sections, as bytes. ``reading`` and ``writing`` use it on files.
- ``measuring``: PCRs. ``signature``: who signed PCR0. ``metadata``: what the builder says of itself; not measured.
- ``cpio``: the format of a ramdisk. ``ramdisks``: what nitro-cli puts into the two ramdisks of an image.
- ``container``: a container image's files, and what Docker and linuxkit change in them before nitro-cli measures them.
- ``description`` and ``comparison``: reports for people and programs.

Files are streams that the caller opened. Contents are read in pieces, so an image may be larger than the memory.
"""
