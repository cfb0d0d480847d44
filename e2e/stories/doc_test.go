// Package stories runs the story files of policydata/testdata/decide through
// three runners, which must all decide as the files say: the engine as Go code,
// the built filter in wazero, and the built filter in the real Envoy, to which
// the host pushes it by ECDS.
package stories
