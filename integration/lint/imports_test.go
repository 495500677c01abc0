// Package lint checks what the compiler does not: that the packages import
// each other in one direction only.
package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/causewayfs/causeway/"

// layers ranks the components: a package may import its own component and
// those of a lower rank. index and locks do not know each other.
var layers = map[string]int{
	"store":   0,
	"index":   1,
	"locks":   1,
	"vfs":     2,
	"gateway": 3,
	"cmd":     4,
}

// listed is what this test wants to know from go list.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImportDirection(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		for _, p := range list(t, goos) {
			for _, imported := range p.Imports {
				if why := forbidden(p.ImportPath, imported, false); why != "" {
					t.Errorf("%s (%s) imports %s: %s", p.ImportPath, goos, imported, why)
				}
			}
			for _, imported := range append(p.TestImports, p.XTestImports...) {
				if why := forbidden(p.ImportPath, imported, true); why != "" {
					t.Errorf("a test of %s (%s) imports %s: %s", p.ImportPath, goos, imported, why)
				}
			}
		}
	}
}

// TestForbidden makes sure that the rules would catch something.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		inTest   bool
		want     bool // forbidden
	}{
		{"cmd/causeway", "gateway/fuse", false, false},
		{"gateway/fuse", "vfs", false, false},
		{"gateway/fuse", "store", false, false},
		{"vfs", "index", false, false},
		{"vfs", "gateway/fuse", false, true},
		{"index", "vfs", false, true},
		{"index", "locks", false, true},
		{"store/retry", "store", false, false},
		{"store", "index", false, true},
		{"gateway/status", "cmd/causeway", false, true},
		{"vfs", "integration/s3proxy", false, true},
		{"vfs", "integration/s3proxy", true, false},
		{"integration/bench", "cmd/causeway", false, false},
	} {
		if got := forbidden(module+c.from, module+c.to, c.inTest) != ""; got != c.want {
			t.Errorf("%s imports %s (in a test: %v): forbidden=%v, want %v", c.from, c.to, c.inTest, got, c.want)
		}
	}
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"vfs", "net/http", true},
		{"vfs", "github.com/hanwen/go-fuse/v2/fuse", true},
		{"index", "net/http", true},
		{"gateway/status", "net/http", false},
		{"gateway/fuse", "github.com/hanwen/go-fuse/v2/fuse", false},
		{"store/s3", "github.com/aws/aws-sdk-go-v2/service/s3", false},
		{"store/retry", "github.com/aws/smithy-go", true},
		{"cmd/causeway", "github.com/aws/aws-sdk-go-v2/aws", true},
	} {
		if got := forbidden(module+c.from, c.to, false) != ""; got != c.want {
			t.Errorf("%s imports %s: forbidden=%v, want %v", c.from, c.to, got, c.want)
		}
	}
}

// forbidden says why a package must not import another one; "" if it may.
func forbidden(from, to string, inTest bool) string {
	pkg := strings.TrimPrefix(from, module)
	component, _, _ := strings.Cut(pkg, "/")
	if component == "integration" {
		return ""
	}
	if target, ok := strings.CutPrefix(to, module); ok {
		return forbiddenInside(component, target, inTest)
	}
	switch {
	case isSDK(to) && !mayUseSDK(pkg):
		return "only store/s3, store/storetest and integration know the AWS SDK"
	case !inTest && strings.HasPrefix(to, "github.com/hanwen/go-fuse/") && component != "gateway":
		return "only gateway knows FUSE"
	case !inTest && to == "net/http" && (component == "vfs" || component == "index" || component == "locks"):
		return "the filesystem knows no protocol"
	}
	return ""
}

func forbiddenInside(component, target string, inTest bool) string {
	to, _, _ := strings.Cut(target, "/")
	if to == "integration" {
		if inTest {
			return ""
		}
		return "integration is for tests"
	}
	from, ok := layers[component]
	rank, ok2 := layers[to]
	switch {
	case !ok || !ok2:
		return "one of them belongs to no layer"
	case component != to && rank >= from:
		return "imports run cmd -> gateway -> vfs -> {index, locks} -> store"
	}
	return ""
}

func isSDK(path string) bool {
	return strings.HasPrefix(path, "github.com/aws/")
}

func mayUseSDK(pkg string) bool {
	return pkg == "store/s3" || pkg == "store/storetest" || strings.HasPrefix(pkg, "store/storetest/")
}

// list returns the packages of the module as they are for goos.
func list(t *testing.T, goos string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-tags", "integration", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < len(layers) {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}
