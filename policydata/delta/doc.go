// Package delta makes a small file of what differs between two policy snapshots,
// and the second snapshot out of the first and that file.
//
// [Make] is for the host, which signs its result as it signs snapshots. [Apply]
// is for who has the base: it verifies the delta and gives the target, complete
// with its own signature, byte for byte what the host has. It is then loaded as
// any snapshot, by policydata.Load. Whatever goes wrong, the full snapshot helps:
// a delta only saves bytes.
//
// # How it works
//
// Snapshots are flat tables whose records refer to each other by their numbers.
// One user more shifts the numbers of all behind it, in every record that refers
// to one of these, so what differs between the bytes is nearly everything. But it
// differs in a way that is soon said: a delta tells which records came, went or
// changed. The numbers of all records follow from that, and so do the fields that
// refer to them. What is hard, to find out which record of the base one of the
// target stands for, is the host's; applying is copying, adding and looking up in
// arrays, once over the snapshot. Nothing is compressed: what is left is small,
// and inflating would cost the filter more than all of this.
//
// # Why there is no cryptographic hash of the result
//
// Whoever applies a delta needs to know that the result is what the host signed,
// and policydata.Load verifies just that, by the target's own signature, which the
// delta has: in the proxy natively. A SHA-256 in the filter would take longer than
// all else and prove no more. What is checked here is a sum of 64 bits, which
// finds damage and mistakes and protects against nobody. A delta is signed so that
// nobody else can make a filter spend time and memory on it, and so that what is
// applied was meant. It can't be taken for a snapshot, nor a snapshot for a delta:
// what is signed begins with another magic.
//
// A snapshot is told apart by (epoch, generation) and its mark, the last 16 bytes
// of its signature, instead of a hash. Hosts with one store and one key sign
// deterministically, so that a delta of one fits what another one has sent.
//
// # Format, version 1
//
// This is the normative specification. It is about snapshots of format version 1,
// whose specification, in package policydata, defines the terms. Integers are
// little-endian. A delta is
//
//	header           64 bytes
//	target's header  64 bytes
//	target's signature block
//	operations
//	signature block  as that of a snapshot, over all before it
//
// The header:
//
//	 0  8 bytes   magic: the text "SALLYDLT"
//	 8  u32       version of the format: 1
//	12  u32       length of all before the signature block: what is signed
//	16  u64       epoch of the base
//	24  u64       generation of the base
//	32  16 bytes  mark of the base: the last bytes of its signature
//	48  u64       checksum of the target, signature block included
//	56  u32       length of the target, signature block included
//	60  u32       length of the target's signature block
//
// The operations of each section follow, in the order of sections: first the
// number of records that the section has in the target, then operations until
// there are as many. A number is a varint: 7 bits in each byte, the lowest first,
// the highest bit set in all bytes but the last. An operation is a number, whose
// two lowest bits say what is done and the others, n, how much:
//
//	0  copy     the next n records of the base, as below
//	1  replace  n records, which follow; they stand for the next n of the base
//	2  insert   n records, which follow; they stand for none
//	3  seek     the next record of the base moves by n, whose lowest bit is the
//	            sign and the others the amount (-1 is 1, 1 is 2, -2 is 3)
//
// In each section the base's record 0 is the first to be next. But for seek, n is
// not 0. The section table follows from the numbers of records; between sections
// are zeroes.
//
// A copied record is that of the base but for the fields that refer to a section:
//
//   - The number of a record, or of a string, becomes the number in the target of
//     the record that was copied from this one or replaced it, the last one if there
//     are several. If there is none, or no such record in the base, it stays.
//   - The first record of a range becomes the one behind the range before, in the
//     order in which ranges follow each other. In one operation that is decided once,
//     for the first record: the ranges of all others move by as much.
//
// Which fields these are is said by policydata.Layout.
//
// The checksum: h is the target's length. For each 8 bytes as a u64, and for the
// up to 7 that are left, with zeroes behind them (for 8 zeroes, if none are left),
// h = (h xor word) * 0x9E3779B97F4A7C15, and then h ^= h >> 32.
//
// # What a reader must check
//
// Magic, version and lengths; the signature; that the base is the one meant; that
// operations stay within the base, the delta, the number of records and the length
// of the target, of at most policydata.MaxSnapshotBytes, and give exactly that;
// the checksum. The result needs all checks of a snapshot.
//
// # Example
//
// The base is the example of package policydata, with another signature block. In
// the target, one second later, there is a user, "eric".
//
//	0000  53 41 4c 4c 59 44 4c 54  magic
//	0008  01 00 00 00  version 1
//	000c  05 01 00 00  261 bytes are signed
//	0010  01 00 00 00 00 00 00 00  base: epoch 1
//	0018  07 00 00 00 00 00 00 00  generation 7
//	0020  6f 74 20 61 20 73 69 67 6e 61 74 75 72 65 2e 2e  and its mark
//	0030  b7 df bc a6 9d 8a 4f 03  checksum
//	0038  cb 03 00 00  the target has 971 bytes
//	003c  1b 00 00 00  27 of them its signature block
//	0040  53 41 4c 4c 59 50 52 54  target's magic
//	0048  01 00 00 00  version 1
//	004c  1d 00 00 00  29 sections
//	0050  00 00 00 00 00 00 00 00  no feature bits
//	0058  01 00 00 00 00 00 00 00  epoch 1
//	0060  08 00 00 00 00 00 00 00  generation 8
//	0068  01 d2 49 6b 00 00 00 00  created 2027-01-15T08:00:01Z
//	0070  00 00 00 00 00 00 00 00  never stale
//	0078  b0 03 00 00 00 00 00 00  944 bytes are signed
//	0080  53 49 47 4e 02 00 11 00  target's signature block
//	0088  6b 31 6e 6f 74 20 61 20 73 69 67 6e 61 74 75 72
//	0098  65 2e 2e
//	009b  07 14  strings, 7: copy 5
//	009d  06 1a 00 00 00 04 00 00 00  insert 1: text 26 to 29
//	00a6  04  copy 1
//	00a7  32 68  text, 50: copy 26
//	00a9  12 65 72 69 63  insert 4: "eric"
//	00ae  50  copy 20
//	00af  04 10 01 04 01 04 03 0c 02 08 01 04 01 04 00 00  seeds to labels: all as before
//	00bf  00 00  methods to expressions: all as before
//	00c1  01 06 05 00 00 00 00 00 00 00  users, 1: insert 1: name, flags, not before,
//	00cb  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  lists of policies, groups, roles
//	00db  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
//	00eb  02 05 00 00 00 00  user index, 2: replace 1: user 0
//	00f1  04  copy 1
//	00f2  01 04 02 08 00 00 02 08 00 00 00 01 04 00 00 00  groups to name lists: all as before
//	0102  04 10 00  issuers to revoked: all as before
//	0105  53 49 47 4e 02 00 11 00  signature block: key id of 2 bytes, signature of 17
//	010d  6b 31 6e 6f 74 20 61 20 73 69 67 6e 61 74 75 72  "k1", and bytes in place of a signature
//	011d  65 2e 2e
package delta
