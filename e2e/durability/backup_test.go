package durability

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/e2e/hosttest"
)

// TestBackupAndRestore takes a backup of a running host, makes another host of
// it, and looks at what is audited of that.
func TestBackupAndRestore(t *testing.T) {
	h := hosttest.Start(t, "")
	h.Apply(set(0, 1))
	file := filepath.Join(t.TempDir(), "backup")
	if out := h.Run(0, "", "backup", file); !strings.Contains(out, " records") {
		t.Errorf("backup printed %q", out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v and %v", info, err)
	}
	h.Run(2, "", "backup", file) // replaces nothing
	h.Apply(set(0, 2))
	exported := h.Run(0, "", "export")

	id, secret := h.Credentials()
	dir := t.TempDir()
	hosttest.Run(t, 2, "", "restore", file, "--data-dir", h.DataDir) // a store is there
	hosttest.Run(t, 2, "", "restore", file, "--data-dir", h.DataDir, "--force")
	hosttest.Run(t, 2, "not a backup", "restore", "-", "--data-dir", dir)
	if out := hosttest.Run(t, 0, "", "restore", file, "--data-dir", dir); !strings.Contains(out, "epoch") {
		t.Errorf("restore printed %q", out)
	}
	restored := hosttest.Start(t, dir)
	t.Setenv("SALLYPORT_SERVER", "http://"+restored.HTTP)
	t.Setenv("SALLYPORT_ACCESS_KEY_ID", id) // those of the first host
	t.Setenv("SALLYPORT_SECRET_ACCESS_KEY", secret)
	want := strings.ReplaceAll(exported, `description: "2"`, `description: "1"`)
	if got := hosttest.Run(t, 0, "", "export"); got != want || got == exported {
		t.Errorf("the restored host exports\n%s\nwant\n%s", got, want)
	}
	table := hosttest.Run(t, 0, "", "audit")
	for _, line := range []string{"(first start)", "admin ", "created ", "User w0-0", "(restore)", "epochBegun"} {
		if !strings.Contains(table, line) {
			t.Errorf("audit does not show %q:\n%s", line, table)
		}
	}
	if got := hosttest.Run(t, 0, "", "audit", "--kind", "user", "--name", "w0-3", "--since", "1h", "-o", "json"); strings.Count(got, "\n") != 1 ||
		!strings.Contains(got, `"after":{"description":"1","set":"default","spec":{}}`) || !strings.Contains(got, id) {
		t.Errorf("audit of one user: %s", got)
	}
}
