package manifest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/model"
)

// TestSchemasAreThoseOfTheModel keeps the tables and the types of package model
// in step: each field is in both, in the same form.
func TestSchemasAreThoseOfTheModel(t *testing.T) {
	if len(specs) != len(model.Kinds()) {
		t.Fatalf("%d schemas for %d kinds", len(specs), len(model.Kinds()))
	}
	same(t, "metadata", metadata, reflect.TypeFor[model.Metadata]())
	for kind, s := range specs {
		same(t, string(kind), s, reflect.TypeOf(model.New(kind)).Elem())
	}
}

func same(t *testing.T, path string, s *schema, typ reflect.Type) {
	t.Helper()
	if want := shapeOf(typ); s.shape != want {
		t.Errorf("%s: shape %d in the schema, %d in the model", path, s.shape, want)
		return
	}
	switch s.shape {
	case shapeList:
		same(t, path+"[]", s.item, typ.Elem())
	case shapeObject:
		types := map[string]reflect.Type{}
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name != "-" {
				types[name] = typ.Field(i).Type
			}
		}
		if len(types) != len(s.fields) {
			t.Errorf("%s: %d fields in the schema, %d in the model", path, len(s.fields), len(types))
		}
		for _, f := range s.fields {
			if types[f.name] == nil {
				t.Errorf("%s.%s: not in the model", path, f.name)
				continue
			}
			if f.about == "" {
				t.Errorf("%s.%s: not described", path, f.name)
			}
			same(t, path+"."+f.name, f.value, types[f.name])
		}
	}
}

func shapeOf(typ reflect.Type) shape {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch typ {
	case reflect.TypeFor[time.Time]():
		return shapeTime
	case reflect.TypeFor[model.Duration]():
		return shapeDuration
	case reflect.TypeFor[json.RawMessage]():
		return shapeAny
	}
	switch typ.Kind() {
	case reflect.Bool:
		return shapeBool
	case reflect.Struct:
		return shapeObject
	case reflect.Slice:
		return shapeList
	}
	return shapeText
}
