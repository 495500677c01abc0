//go:build integration

package pages

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/integration/harness"
)

// patience bounds what a test waits for.
const patience = 60 * time.Second

// browser starts a Chromium with a profile of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(harness.Need(t, "chromium")), chromedp.UserDataDir(t.TempDir())}
	for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync", "disable-dev-shm-usage"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // it waits until the browser has left its profile
		end()
	})
	return ctx
}

type action = chromedp.Action[chromedp.Void]

// run carries out actions.
func run(t *testing.T, ctx context.Context, actions ...action) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// get evaluates an expression.
func get[T any](t *testing.T, ctx context.Context, js string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// until waits for an expression to be true.
func until(t *testing.T, ctx context.Context, js string) {
	t.Helper()
	_, err := chromedp.Run(ctx, chromedp.Poll[bool](js, chromedp.WithPollingTimeout(patience), chromedp.WithPollingInterval(50*time.Millisecond)))
	if err != nil {
		t.Fatalf("%s: %v", js, err)
	}
}

// does runs a script for what it does.
func does(js string) action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Evaluate[bool]("(() => { "+js+"; return true })()")(ctx, t)
		return err
	})
}

const names = `[...document.querySelectorAll(".files tbody tr:not(.up) .name span")].map(e => e.textContent)`

func TestPages(t *testing.T) {
	s := newSite(t)
	ctx := browser(t)
	t.Run("listing sorts", func(t *testing.T) { listingSorts(t, ctx, s) })
	t.Run("upload by drop", func(t *testing.T) { uploadByDrop(t, ctx, s) })
	t.Run("status is live", func(t *testing.T) { statusIsLive(t, ctx, s) })
	t.Run("fits", func(t *testing.T) { fits(t, ctx, s) })
	t.Run("without script", func(t *testing.T) { withoutScript(t, ctx, s) })
}

func listingSorts(t *testing.T, ctx context.Context, s *site) {
	click := func(column string) []string {
		run(t, ctx, chromedp.Click("th."+column+" a"), chromedp.WaitReady("th."+column+"[aria-sort]"))
		return get[[]string](t, ctx, names)
	}
	dirs := []string{"archive", "build output", "datasets"}
	byName := []string{"backup.tar.zst", "holiday in the hills.jpg", "notes.txt", "Q3 figures.xlsx", "README.md"}
	bySize := []string{"backup.tar.zst", "holiday in the hills.jpg", "Q3 figures.xlsx", "README.md", "notes.txt"}
	run(t, ctx, chromedp.Navigate(s.url+"/"))
	if got := get[[]string](t, ctx, names); !reflect.DeepEqual(got, append(dirs, byName...)) {
		t.Errorf("by name: %v", got)
	}
	if got := click("size"); !reflect.DeepEqual(got[3:], bySize) || !reflect.DeepEqual(got[:3], dirs) {
		t.Errorf("by size: %v", got)
	}
	run(t, ctx, chromedp.Click("th.size a"), chromedp.WaitReady("th.size[aria-sort=ascending]"))
	if got := get[[]string](t, ctx, names); got[3] != "notes.txt" || got[7] != "backup.tar.zst" {
		t.Errorf("by size, ascending: %v", got)
	}
	run(t, ctx, chromedp.Click(`a[href="./build%20output/"]`), chromedp.WaitReady("tr.up"))
	if got := get[string](t, ctx, `document.querySelector("[aria-current]").textContent`); got != "build output" {
		t.Errorf("breadcrumb ends in %q", got)
	}
	run(t, ctx, chromedp.Click("tr.up a"), chromedp.WaitReady("tr.dir"))
	if errs := get[int](t, ctx, `performance.getEntriesByType("resource").filter(r => !r.name.startsWith(location.origin)).length`); errs != 0 {
		t.Errorf("%d things come from elsewhere", errs)
	}
}

// drop is a script that drops a file with a name and text on the page.
const drop = `((name, text) => {
	const transfer = new DataTransfer();
	transfer.items.add(new File([text], name));
	for (const kind of ["dragenter", "dragover", "drop"]) {
		document.querySelector("main").dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: transfer}));
	}
})`

func uploadByDrop(t *testing.T, ctx context.Context, s *site) {
	run(t, ctx, chromedp.Navigate(s.url+"/datasets/"), does(drop+`("new & <b>odd #1?.csv", "a,b\n")`))
	until(t, ctx, `document.querySelectorAll("#uploads .done").length === 1`)
	until(t, ctx, names+`.includes("new & <b>odd #1?.csv")`)
	read := func() string {
		t.Helper()
		return s.read(t, "datasets/new & <b>odd #1?.csv")
	}
	if got := read(); got != "a,b\n" {
		t.Errorf("stored %q", got)
	}
	// A name that is taken is asked about: first no, then yes.
	run(t, ctx, does(`window.confirm = () => false; `+drop+`("new & <b>odd #1?.csv", "other")`))
	until(t, ctx, `document.querySelectorAll("#uploads .failed").length === 1`)
	if got := read(); got != "a,b\n" {
		t.Errorf("without consent: %q", got)
	}
	run(t, ctx, does(`window.confirm = () => true; `+drop+`("new & <b>odd #1?.csv", "other")`))
	until(t, ctx, `document.querySelectorAll("#uploads .done").length >= 1 && !document.querySelector("#uploads progress")`)
	if got := read(); got != "other" {
		t.Errorf("with consent: %q", got)
	}
}

func statusIsLive(t *testing.T, ctx context.Context, s *site) {
	run(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(s.url+"/-/"))
	until(t, ctx, `document.querySelector("#live").textContent === "live"`)
	if got := get[string](t, ctx, `document.querySelector(".lock.contended .holder").textContent`); got != "build-7 · pid 4121" {
		t.Errorf("the holder of the contended lock is shown as %q", got)
	}
	if !get[bool](t, ctx, `document.querySelector(".lock.contended").getBoundingClientRect().bottom <= innerHeight`) {
		t.Error("the contended lock is not in the first screen")
	}
	s.change(func(r *status.Report) {
		r.Files.Commits += 10
		r.Locks[0].Holders[0].Host = "build-9"
		r.Kept[0].Path = "<script>alert(1)</script>"
	})
	until(t, ctx, `document.querySelector(".lock.contended .holder").textContent.startsWith("build-9")`)
	until(t, ctx, `[...document.querySelectorAll("#part-files .path")].some(e => e.textContent === "<script>alert(1)</script>")`)
	until(t, ctx, `document.querySelector("#chart-commits .line") !== null`)
	s.change(func(r *status.Report) {
		r.Kept[0].Path = "shared/plan.md"
		r.Locks[0].Holders[0].Host = "build-7"
	})
}

// busy returns what makes counters grow like those of a busy gateway.
func busy() func(*status.Report) {
	start, base := time.Now(), sampleReport()
	// grown is the integral of a rate that goes up and down with a period.
	grown := func(rate, period float64) int64 {
		t := time.Since(start).Seconds()
		w := 2 * math.Pi / period
		return int64(rate * (t - 0.8*math.Sin(w*t)/w))
	}
	return func(r *status.Report) {
		r.Files.Commits = base.Files.Commits + grown(24, 5)
		for i := range r.Requests {
			r.Requests[i].Count = base.Requests[i].Count + grown(30/float64(i+1), 4+float64(i))
		}
	}
}

// fits looks at the pages in both widths, in light and dark.
func fits(t *testing.T, ctx context.Context, s *site) {
	s.mu.Lock()
	s.work = busy()
	s.mu.Unlock()
	for _, size := range []struct{ width, height int64 }{{1280, 900}, {390, 844}} {
		for name, path := range map[string]string{"listing": "/", "folder": "/datasets/", "status": "/-/"} {
			run(t, ctx, chromedp.EmulateViewport(size.width, size.height), chromedp.Navigate(s.url+path), chromedp.WaitReady("main"))
			if name == "status" {
				until(t, ctx, `document.querySelector("#chart-requests .line") !== null`)
			}
			if over := get[int](t, ctx, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
				t.Errorf("%s at %d: scrolls sideways by %d", name, size.width, over)
			}
			shoot(t, ctx, shotName(name, int(size.width)))
			if name != "folder" && os.Getenv("CAUSEWAY_SHOTS") != "" {
				dark(t, ctx, "dark")
				shoot(t, ctx, shotName(name+"-dark", int(size.width)))
				dark(t, ctx, "light")
			}
		}
	}
}

func dark(t *testing.T, ctx context.Context, scheme string) {
	t.Helper()
	run(t, ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// shoot leaves a picture where CAUSEWAY_SHOTS says.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("CAUSEWAY_SHOTS")
	if dir == "" {
		return
	}
	if strings.Contains(name, "status") {
		time.Sleep(3 * time.Second) // for a history to look at
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func withoutScript(t *testing.T, ctx context.Context, s *site) {
	run(t, ctx, scripts(false), chromedp.Navigate(s.url+"/?sort=size&order=desc"), chromedp.WaitReady("main"))
	html := mainHTML(t, ctx)
	if i, j := strings.Index(html, "backup.tar.zst"), strings.Index(html, "notes.txt"); i < 0 || j < i {
		t.Errorf("the listing is not sorted by size: %d, %d", i, j)
	}
	run(t, ctx, chromedp.Navigate(s.url+"/-/"), chromedp.WaitReady("main"))
	html = mainHTML(t, ctx)
	for _, want := range []string{"Held by", "build-7", "shared/plan.md", "UPLOAD-PART"} {
		if !strings.Contains(html, want) {
			t.Errorf("the status page does not show %q", want)
		}
	}
	run(t, ctx, scripts(true))
}

func mainHTML(t *testing.T, ctx context.Context) string {
	t.Helper()
	html, err := chromedp.Run(ctx, chromedp.OuterHTML("main"))
	if err != nil {
		t.Fatal(err)
	}
	return html
}

// scripts switches the scripts of pages on or off.
func scripts(on bool) action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
		return err
	})
}
