package vfs

import (
	"context"
	"unicode/utf8"

	"github.com/causewayfs/causeway/store"
)

// treeCursor looks up ascending keys in a listing.
type treeCursor struct {
	t      *treeTask
	prefix string
	page   []store.Info
	opts   store.ListOptions
	begun  bool
	last   bool // page is the last one
}

// find returns what a listing that began after the cursor was made has of the
// key rel below the prefix. Keys must be asked for in order.
func (c *treeCursor) find(ctx context.Context, rel string) (store.Info, bool, error) {
	key := c.prefix + rel
	if !c.begun {
		c.begun = true
		c.opts = store.ListOptions{Prefix: c.prefix}
		if _, size := utf8.DecodeLastRuneInString(rel); len(rel) > size {
			c.opts.After = key[:len(key)-size]
		}
		if err := c.next(ctx); err != nil {
			return store.Info{}, false, err
		}
	}
	for {
		for len(c.page) > 0 && c.page[0].Key < key {
			c.page = c.page[1:]
		}
		if len(c.page) > 0 || c.last {
			found := len(c.page) > 0 && c.page[0].Key == key
			if !found {
				return store.Info{}, false, nil
			}
			return c.page[0], true, nil
		}
		if err := c.next(ctx); err != nil {
			return store.Info{}, false, err
		}
	}
}

func (c *treeCursor) next(ctx context.Context) error {
	page, err := c.t.fs.store.List(ctx, c.opts)
	if err != nil {
		return err
	}
	c.page, c.opts.Token, c.last = page.Objects, page.Next, page.Next == ""
	return nil
}
