// Package format is how facts about objects are written down: in segments of
// the delta log, which gateways append to, and as values of the local copy and
// of the shards folded from both. It knows no S3 and no files.
//
// # Fact
//
// A fact tells what one path stands for, in the terms of the object store: kind,
// size, ETag, time and metadata of the object. What these mean as attributes of
// a file is not its business. The value of a fact is, with numbers as varints of
// encoding/binary (u: unsigned, s: signed) and text as u(length) and bytes:
//
//	byte    bits 0-2 kind: 1 object, 2 directory with a marker, 3 directory
//	        without, 4 gone
//	        bit 3 metadata are known
//	        bit 4 ETag is an MD5 sum
//	        bit 5 base is there
//	        bit 6 time is there
//	u       size, only for objects
//	...     ETag: 16 bytes and u(parts; 0: none) with bit 4, else text
//	...     base, as ETag always as text, with bit 5: the version that the object
//	        had before
//	s       time, seconds since 1970, with bit 6
//	u       number of metadata, with bit 3; for each, sorted, key and value as text
//
// Nothing may follow.
//
// # Key
//
// The key of a path in the local copy and in shards is its directory, a zero
// byte and its name. So the names of a directory lie side by side, apart from
// those of directories in it, and a listing is one scan. No path holds a zero
// byte.
//
// # Segment
//
// A segment has the facts that one gateway told at one time, in the order in
// which it came to know them:
//
//	8 bytes  magic "CWYLOG1\n"
//	u        length of the header; the header as JSON: version, gateway, number,
//	         number of records, time (for people)
//	4 bytes  CRC-32C of all before
//	then for each record:
//	u        length of what follows, without the sum
//	text     path
//	...      value of the fact
//	4 bytes  CRC-32C of the record from its length on, little endian
//
// A record whose sum is wrong is skipped and counted; where a length makes no
// sense, all that follow are. A reader has to ask the objects then. A header of a newer version is [NewerError].
//
// The constants are part of the format and never change. A change of meaning
// needs another magic and version.
package format
