package main

// deltas are mistakes in applying deltas.
var deltas = []mutation{
	{"a delta's result is not compared", "policydata/delta/apply.go", "if checksum(target) != f.checksum {", "if checksum(target) == 0 && f.checksum != 0 {"},
	{"a delta is applied to any base", "policydata/delta/apply.go", "have != f.Base {", "have.Mark == \"\" {"},
	{"a delta is applied to any snapshot of its base's version", "policydata/delta/apply.go", "have != f.Base {", "have.Epoch != f.Base.Epoch || have.Generation != f.Base.Generation {"},
	{"a delta is applied to its base in any epoch", "policydata/delta/apply.go", "have != f.Base {", "have.Generation != f.Base.Generation || have.Mark != f.Base.Mark {"},
	{"a delta's signature is not checked", "policydata/delta/apply.go", "if err := verify(f.signed, f.sig); err != nil {", "if err := verify(f.signed, f.sig); err != nil && len(f.sig) == 0 {"},
	{"a delta's header alone is signed", "policydata/delta/apply.go", "verify(f.signed, f.sig)", "verify(f.signed[:headerBytes], f.sig)"},
	{"a delta is good without a verifier", "policydata/delta/apply.go", "\tif verify == nil {\n\t\treturn nil, policydata.ErrSignature\n\t}", "\tif verify == nil {\n\t\treturn f.apply(base)\n\t}"},
	{"a delta is read before it is verified", "policydata/delta/apply.go", "\tif verify == nil {", "\tif _, err := policydata.ParseFrame(base); err != nil {\n\t\treturn nil, err\n\t}\n\tif verify == nil {"},
	{"more records than the section has", "policydata/delta/apply.go", "case n == 0 || n > count-at || ", "case n == 0 || "},
	{"records beyond the base's", "policydata/delta/apply.go", " || kind != opInsert && n > have-cursor:", ":"},
	{"no records for ever", "policydata/delta/apply.go", "case n == 0 || n > count-at", "case n > count-at"},
	{"a record behind the base's", "policydata/delta/apply.go", "if to > have {", "if to > have<<20 {"},
	{"bytes behind the delta's", "policydata/delta/apply.go", "if n > uint64(len(r.b)-r.at) {", "if n > uint64(cap(r.b)) {"},
	{"the target may be smaller", "policydata/delta/apply.go", " || size != uint64(f.TargetBytes) {", " {"},
	{"bytes behind the operations", "policydata/delta/apply.go", "if r.at != len(r.b) || size", "if size"},
	{"a target beyond the limit", "policydata/delta/format.go", "case size > policydata.MaxSnapshotBytes || ", "case "},
	{"a target smaller than its header", "policydata/delta/format.go", " || uint64(size) < policydata.HeaderBytes+tableBytes+uint64(block):", ":"},
	{"a signature block beyond the delta", "policydata/delta/format.go", "case block < policydata.MarkBytes || ops > uint64(len(body)):", "case block < policydata.MarkBytes:"},
	{"a signature block without a mark", "policydata/delta/format.go", "case block < policydata.MarkBytes || ops", "case ops"},
	{"a delta of another format", "policydata/delta/format.go", "case le.Uint32(b[hdrVersion:]) != version:", "case le.Uint32(b[hdrVersion:]) < version:"},
	{"a delta that was cut", "policydata/delta/format.go", "case uint64(length) > uint64(len(b)):", "case uint64(length) > uint64(cap(b)):"},
	{"a checksum of the first half", "policydata/delta/format.go", "h := uint64(len(b))\n", "h := uint64(len(b))\n\tb = b[:len(b)/2]\n"},
	{"a checksum without the last bytes", "policydata/delta/format.go", "\tcopy(last[:], b)\n", ""},
}
