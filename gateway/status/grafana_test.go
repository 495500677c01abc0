package status

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
)

// TestGrafana wants every metric that the dashboard names to be exported.
func TestGrafana(t *testing.T) {
	text, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	known := exportedNames(t)
	metric := regexp.MustCompile(`causeway_\w+`)
	named := 0
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			names := metric.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: %q names no metric", p.Title, target.Expr)
			}
			for _, name := range names {
				named++
				if !known[name] {
					t.Errorf("%s: %s is not exported", p.Title, name)
				}
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d metrics are named", named)
	}
}

// exportedNames are those of /-/metrics after a request to S3, with the parts of
// histograms.
func exportedNames(t *testing.T) map[string]bool {
	t.Helper()
	counted := metrics.Wrap(mem.New())
	if _, err := counted.List(t.Context(), store.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(counted, collector{full})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = true
		if f.GetType().String() == "HISTOGRAM" {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				known[f.GetName()+part] = true
			}
		}
	}
	return known
}
