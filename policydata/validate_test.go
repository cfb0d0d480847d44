package policydata

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func acceptAll(_, _ []byte) error { return nil }

// edit is a body whose fields a test changes.
type edit struct {
	*Snapshot
	body []byte
}

func (e *edit) set(sec int, i, field, value uint32) {
	binary.LittleEndian.PutUint32(e.body[e.at(sec, i)+field:], value)
}

// Each case changes one thing of a good body. They are signed, so that these
// are the mistakes of a host, not of somebody on the way.
func TestLoadRefusesBadBodies(t *testing.T) {
	const header = headerBytes
	u32 := func(offset, value uint32) func(*edit) {
		return func(e *edit) { binary.LittleEndian.PutUint32(e.body[offset:], value) }
	}
	field := func(sec int, i, f, value uint32) func(*edit) {
		return func(e *edit) { e.set(sec, i, f, value) }
	}
	swap := func(sec int, x, y uint32) func(*edit) {
		return func(e *edit) {
			n := recordBytes[sec]
			a, b := e.body[e.at(sec, x):][:n], e.body[e.at(sec, y):][:n]
			for i := range a {
				a[i], b[i] = b[i], a[i]
			}
		}
	}
	tests := []struct {
		name   string
		change func(*edit)
		want   string
	}{
		{"magic", u32(0, 0), "not a snapshot"},
		{"version", u32(hdrVersion, 2), "version of the format is not known"},
		{"feature_bit", u32(hdrFeatures, 1), "uses a feature that is not known"},
		{"high_feature_bit", u32(hdrFeatures+4, 1<<31), "uses a feature that is not known"},
		{"number_of_sections", u32(hdrSections, numSections+1), "wrong number of sections"},
		{"reserved", u32(hdrReserved, 1), "reserved bytes are not zero"},
		{"length_beyond", u32(hdrLength, 1<<31), "truncated"},
		{"length_short", u32(hdrLength, 8), "truncated"},
		{"section_id", u32(header, 1), "section table is not as expected"},
		{"section_record_size", u32(header+4, 9), "section table is not as expected"},
		{"section_offset", u32(header+8, 0), "section table is not as expected"},
		{"section_length", u32(header+12, 0xFFFFFFF8), "section of a wrong length"},
		{"section_length_odd", u32(header+12, 12), "section of a wrong length"},
		{"padding", func(e *edit) {
			for sec := range numSections {
				end := e.at(sec, e.section[sec].count)
				if end%8 != 0 {
					e.body[end] = 1
					return
				}
			}
		}, "padding is not zero"},
		{"bytes_behind_the_last_section", func(e *edit) {
			e.body = append(e.body, make([]byte, 8)...)
			binary.LittleEndian.PutUint32(e.body[hdrLength:], uint32(len(e.body)))
		}, "bytes behind the last section"},
		{"range_that_wraps_around", func(e *edit) {
			e.set(secPolicies, 1, polRuleFirst+4, -e.field(secPolicies, 1, polRuleFirst))
		}, "range out of bounds"},
		{"records_that_nothing_refers_to", func(e *edit) {
			last := e.section[secRoleClaims].count - 1
			e.set(secRoleClaims, last, claimRoleFirst+4, e.field(secRoleClaims, last, claimRoleFirst+4)-1)
		}, "records that nothing refers to"},
		{"text_out_of_bounds", field(secStrings, 1, 4, 1<<20), "range out of bounds"},
		{"texts_overlap", field(secStrings, 1, 0, 0), "does not follow the one before"},
		{"policies_unsorted", func(e *edit) { e.set(secPolicies, 0, polName, e.field(secPolicies, 7, polName)) }, "names are not in ascending order"},
		{"rules_overlap", field(secPolicies, 1, polRuleFirst, 0), "does not follow the one before"},
		{"rule_name", field(secRules, 0, ruleName, none), "index out of range"},
		{"rule_of_another_policy", field(secRules, 1, rulePolicy, 0), "its policy or index is wrong"},
		{"rule_of_a_later_policy", field(secRules, 0, rulePolicy, 1), "its policy or index is wrong"},
		{"rule_flags", field(secRules, 0, ruleFlags, 1<<7), "unknown or contradictory flags"},
		{"rule_any_host_with_hosts", func(e *edit) {
			for i := range e.section[secRules].count {
				if e.field(secRules, i, ruleHostCount) > 0 {
					e.set(secRules, i, ruleFlags, rfAllow|rfAnyHost)
				}
			}
		}, "unknown or contradictory flags"},
		{"method_bits", field(secRules, 0, ruleMethodBits, 1<<31), "unknown or contradictory flags"},
		{"host_flags", field(secHosts, 0, hostFlags, 1<<5), "unknown or contradictory flags"},
		{"host_without_labels", field(secHosts, 0, hostFlags, 0), "unknown or contradictory flags"},
		{"label_kind", field(secLabels, 0, labelKind, uint32(segTail)), "unknown kind of label"},
		{"expr_operator", field(secExprs, 0, exprOp, 0x000002FF), "malformed operator"},
		{"expr_outside_of_its_text", field(secExprs, 0, exprOp, uint32(OpIn)|2<<8|2<<16), "malformed operator"},
		{"expr_argument_out_of_place", field(secExprs, 0, exprFirst, 2), "malformed operator"},
		{"expr_argument_itself", field(secExprs, 0, exprFirst, 0), "malformed operator"},
		{"expr_text", field(secExprs, 1, exprFirst, none), "malformed operator"},
		{"expr_value_of_no_number", field(secExprs, 0, exprInt, 1), "malformed operator"},
		{"expr_more_arguments_than_nodes", func(e *edit) {
			for i := range uint32(2) {
				e.set(secExprs, 1+i, exprOp, uint32(OpList)|255<<8)
				e.set(secExprs, 1+i, exprFirst, 3+255*i)
			}
		}, "malformed operator"},
		{"expr_arity", field(secExprs, 0, exprOp, uint32(OpNot)|2<<8), "malformed operator"},
		{"expr_local", field(secExprs, 2, exprOp, uint32(OpLocal)), "malformed operator"},
		{"expr_macro_without_place_for_its_variable", func(e *edit) {
			e.set(secExprs, 0, exprOp, uint32(OpAll)|2<<8)
			e.set(secExprs, 1, exprOp, uint32(OpLocal))
			e.set(secExprs, 1, exprFirst, 0)
		}, "malformed operator"},
		{"expr_variable", field(secExprs, 2, exprFirst, 77), "malformed operator"},
		{"expr_leaf_with_operands", func(e *edit) { // of which the first would be far outside
			e.set(secExprs, 0, exprOp, uint32(OpVar)|2<<8)
			e.set(secExprs, 0, exprFirst, none-1)
		}, "malformed operator"},
		{"expr_text_with_operands", func(e *edit) {
			e.set(secExprs, 0, exprOp, uint32(OpString)|2<<8)
			e.set(secExprs, 0, exprFirst, e.section[secStrings].count-1)
		}, "malformed operator"},
		{"node_leads_to_itself", field(secNodes, 1, nodeWild, 1), "not a tree"},
		{"node_leads_back", field(secNodes, 1, nodeWild, 0), "not a tree"},
		{"node_out_of_range", field(secNodes, 0, nodeWild, 1<<20), "not a tree"},
		{"node_without_parent", func(e *edit) {
			for i := range e.section[secNodes].count {
				e.set(secNodes, i, nodeWild, none)
			}
		}, "nodes that nothing leads to"},
		{"node_with_two_parents", func(e *edit) {
			last := e.section[secNodes].count - 1
			for i := range last {
				e.set(secNodes, i, nodeWild, last)
			}
		}, "not a tree"},
		{"terminals_overlap", func(e *edit) {
			for i := range e.section[secNodes].count {
				if e.field(secNodes, i, nodeTailFirst) > 0 {
					e.set(secNodes, i, nodeTailFirst, 0)
					e.set(secNodes, i, nodeTailCount, e.section[secTerminals].count)
				}
			}
		}, "does not follow the one before"},
		{"terminal_rule", field(secTerminals, 0, termRule, none), "index out of range"},
		{"terminal_reserved", field(secTerminals, 0, termReserved, 1), "reserved bytes"},
		{"capture_segment", field(secCaptures, 0, capSegment, MaxPatternSegments), "segment out of range"},
		{"user_flags", field(secUsers, 0, userFlags, 2), "unknown flags"},
		{"users_unsorted", swap(secUsers, 0, 1), "names are not in ascending order"},
		{"user_name_twice", func(e *edit) { e.set(secUsers, 1, userName, e.field(secUsers, 0, userName)) }, "ascending order"},
		{"lists_overlap", field(secGroups, 1, groupPolFirst, 0), "does not follow the one before"},
		{"list_item", func(e *edit) {
			for i := range e.section[secRoleLists].count {
				e.set(secRoleLists, i, 0, none)
			}
		}, "index out of range"},
		{"index_slot", func(e *edit) { e.set(secUserIndex, 0, 0, 1<<20) }, "index out of range"},
		{"role_flags", field(secRoles, 0, roleFlags, 4), "unknown flags"},
		{"service_role", field(secServices, 0, svcRole, none), "index out of range"},
		{"service_flags", field(secServices, 0, svcFlags, 4), "unknown flags"},
		{"delegations_overlap", field(secServices, 1, svcDelFirst, 0), "does not follow the one before"},
		{"delegation_flags", field(secDelegations, 0, delFlags, 4), "unknown flags"},
		{"identities_unsorted", swap(secIdentities, 0, 1), "identities are not in ascending order"},
		{"identity_service", field(secIdentities, 0, identSvc, none), "index out of range"},
		{"issuers", field(secIssuers, 0, 0, 1<<20), "malformed issuers"},
		{"revoked_issuer", field(secRevoked, 0, revIssuer, none), "index out of range"},
		{"revoked_id", field(secRevoked, 1, revID, none), "index out of range"},
		{"revoked_unsorted", swap(secRevoked, 0, 1), "revoked tokens are not in ascending order"},
		{"revoked_twice", func(e *edit) { e.set(secRevoked, 1, revID, e.field(secRevoked, 0, revID)) }, "ascending order"},
		{"revoked_for_ever", func(e *edit) { e.set(secRevoked, 0, revExpires, 0) }, "never expires"},
	}
	body, err := Build(story())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &edit{mustLoad(t, body), slices.Clone(body)}
			tt.change(e)
			_, err := Load(AppendSignature(e.body, "", nil), acceptAll)
			wantError(t, err, tt.want)
			var format *FormatError
			if !errors.As(err, &format) || format.Offset < 0 || format.Offset > len(body) {
				t.Errorf("%v says no place in the snapshot", err)
			}
		})
	}
}

func TestLoadRefusesBadSignatureBlocks(t *testing.T) {
	body, err := Build(story())
	if err != nil {
		t.Fatal(err)
	}
	good := AppendSignature(body, "key-1", []byte("sig"))
	if id, err := KeyID(good); err != nil || id != "key-1" {
		t.Fatalf("%q, %v", id, err)
	}
	if _, err := Load(good, nil); !errors.Is(err, ErrSignature) {
		t.Errorf("without a verifier: %v", err)
	}
	reason := errors.New("not by me")
	if _, err := Load(good, func(_, _ []byte) error { return reason }); !errors.Is(err, ErrSignature) || !errors.Is(err, reason) {
		t.Errorf("refused by the verifier: %v", err)
	}
	tests := map[string]struct {
		block []byte
		want  string
	}{
		"none":              {nil, "no signature"},
		"short":             {[]byte("SIGN\x00\x00\x00"), "no signature"},
		"other_magic":       {[]byte("SEAL\x00\x00\x00\x00"), "no signature"},
		"key_id_cut":        {[]byte("SIGN\x05\x00\x00\x00key"), "wrong length"},
		"bytes_behind":      {append(AppendSignature(nil, "k", []byte("s")), 0), "wrong length"},
		"key_id_too_long":   {AppendSignature(nil, strings.Repeat("k", 256), nil), "wrong length"},
		"signature_too_big": {AppendSignature(nil, "", make([]byte, 1025)), "wrong length"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Load(append(slices.Clip(body), tt.block...), acceptAll)
			wantError(t, err, tt.want)
		})
	}
}

// The signature is checked before anything of the body is looked at.
func TestLoadVerifiesFirst(t *testing.T) {
	body, err := Build(story())
	if err != nil {
		t.Fatal(err)
	}
	body[hdrFeatures] = 0xFF
	if _, err := Load(AppendSignature(body, "", nil), func(_, _ []byte) error { return errors.New("no") }); !errors.Is(err, ErrSignature) {
		t.Errorf("got %v", err)
	}
}

func TestLoadRefusesLargeSnapshots(t *testing.T) {
	_, err := Load(make([]byte, MaxSnapshotBytes+1), acceptAll)
	wantError(t, err, "larger than the limit")
}

// Whatever several fields of a signed body say, loading refuses it or deciding
// survives it.
func TestDecideSurvivesRandomFields(t *testing.T) {
	body, err := Build(story())
	if err != nil {
		t.Fatal(err)
	}
	r, e, loaded := rand.New(rand.NewPCG(9, 9)), NewEvaluator(), 0
	for range 10_000 {
		bad := slices.Clone(body)
		for range 1 + r.IntN(3) {
			at := headerBytes + 4*r.IntN((len(bad)-headerBytes)/4)
			old := binary.LittleEndian.Uint32(bad[at:])
			values := []uint32{old + 1, old - 1, old + 2, r.Uint32N(64), r.Uint32N(1024), none, old | 1<<16, old ^ 1<<8}
			binary.LittleEndian.PutUint32(bad[at:], values[r.IntN(len(values))])
		}
		if s, err := Load(AppendSignature(bad, "", nil), acceptAll); err == nil {
			loaded++
			exercise(e, s)
		}
	}
	if loaded == 0 {
		t.Fatal("no changed body was loaded: the test shows nothing")
	}
	t.Logf("%d changed bodies loaded", loaded)
}

// sections returns a body of the same header with other sections.
func sections(t *testing.T, body []byte, change func(*[NumSections][]byte)) []byte {
	t.Helper()
	f, err := ParseFrame(AppendSignature(body, "", nil))
	if err != nil {
		t.Fatal(err)
	}
	all := f.Sections
	for id := range all {
		all[id] = slices.Clone(all[id])
	}
	change(&all)
	var lengths [NumSections]int
	for id, section := range all {
		lengths[id] = len(section)
	}
	out := AppendSectionTable(slices.Clone(f.Header), lengths)
	for _, section := range all {
		out = append(out, section...)
		out = append(out, make([]byte, align(len(out))-len(out))...)
	}
	binary.LittleEndian.PutUint32(out[hdrLength:], uint32(len(out)))
	return out
}

// Each case changes how long a section is.
func TestLoadRefusesSectionsOfWrongSizes(t *testing.T) {
	body, err := Build(story())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(AppendSignature(sections(t, body, func(*[NumSections][]byte) {}), "", nil), acceptAll); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	grow := func(n int) func(*[NumSections][]byte) {
		return func(all *[NumSections][]byte) {
			all[secText] = append(all[secText], make([]byte, n)...)
			lastLength := all[secStrings][len(all[secStrings])-4:]
			binary.LittleEndian.PutUint32(lastLength, binary.LittleEndian.Uint32(lastLength)+uint32(n))
		}
	}
	for name, tt := range map[string]struct {
		change func(*[NumSections][]byte)
		want   string
	}{
		"a_text_that_is_too_long": {grow(maxTextBytes + 1), "text too long"},
		"text_that_no_string_holds": {func(all *[NumSections][]byte) {
			all[secText] = append(all[secText], 'x')
		}, "text that no string holds"},
		"too_many_seeds": {func(all *[NumSections][]byte) {
			all[secSeeds] = append(all[secSeeds], 0, 0, 0, 0)
		}, "wrong number of hash seeds"},
		"too_few_seeds": {func(all *[NumSections][]byte) { all[secSeeds] = all[secSeeds][4:] }, "wrong number of hash seeds"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(AppendSignature(sections(t, body, tt.change), "", nil), acceptAll)
			wantError(t, err, tt.want)
		})
	}
}
