use serde_json::json;

use super::*;

fn data() -> Value {
    json!({
        "ID": "abc",
        "Spec": {"Name": "web", "Labels": {"b": "2", "a": "1"}, "Empty": []},
        "Ports": [{"Target": 80, "Up": true}, {"Target": 443, "Up": false}],
        "Nothing": null,
        "_labels": {"x.y": "z"},
    })
}

fn render(source: &str) -> Result<String, TemplateError> {
    Template::parse(source)?.execute(&data(), Mode::Rows)
}

#[test]
fn what_is_supported() {
    for (source, expected) in [
        ("plain", "plain"),
        ("{{.ID}}-{{.Spec.Name}}", "abc-web"),
        ("{{ .Spec.Labels }}", "map[a:1 b:2]"),
        ("{{.Spec.Labels.a}}", "1"),
        (
            "{{.Ports}}",
            "[map[Target:80 Up:true] map[Target:443 Up:false]]",
        ),
        ("{{.Nothing}}", "<no value>"),
        ("{{json .Spec.Labels}}", "{\"b\":\"2\",\"a\":\"1\"}"),
        ("{{range .Ports}}{{.Target}} {{end}}", "80 443 "),
        (
            "{{range $i, $p := .Ports}}{{$i}}={{$p.Target}};{{end}}",
            "0=80;1=443;",
        ),
        (
            "{{range $k, $v := .Spec.Labels}}{{$k}}{{$v}}{{end}}",
            "a1b2",
        ),
        ("{{range .Spec.Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Missing}}x{{else}}none{{end}}", "none"),
        ("{{if .Missing}}x{{else if .ID}}y{{else}}z{{end}}", "y"),
        ("{{if and .ID (not .Nothing)}}y{{end}}", "y"),
        ("{{if eq .ID \"abc\" \"def\"}}y{{end}}", "y"),
        ("{{if gt (len .Ports) 1}}many{{end}}", "many"),
        ("{{with .Spec}}{{.Name}}{{$.ID}}{{end}}", "webabc"),
        ("{{with $x := .ID}}{{$x}}{{end}}", "abc"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{.ID | upper | printf \"%-5s|\"}}", "ABC  |"),
        (
            "{{upper .ID}} {{title \"a b\"}} {{lower \"X\"}}",
            "ABC A B x",
        ),
        ("{{join (split \"a,b\" \",\") \"-\"}}", "a-b"),
        ("{{index .Ports 1 \"Target\"}}", "443"),
        ("{{index .Spec.Labels \"nope\"}}", "<no value>"),
        ("{{(index .Ports 0).Target}}", "80"),
        ("{{println .ID}}", "abc\n"),
        ("{{print 1 2 \"a\"}}", "1 2a"),
        ("{{printf \"%q %d%%\" .ID 5}}", "\"abc\" 5%"),
        ("{{truncate .ID 2}}{{pad .ID 1 2}}|", "ab abc  |"),
        ("{{slice .ID 1 2}}", "b"),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{/* note */}}x", "x"),
        ("{{`raw \\n`}}", "raw \\n"),
        ("{{.Label \"x.y\"}}{{.Label \"no\"}}", "z"),
        ("{{or .Missing \"default\"}}", "default"),
        ("{{1.5}} {{-3}} {{true}}", "1.5 -3 true"),
    ] {
        assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_refused_says_where() {
    for (source, expected) in [
        ("{{.ID", "template: :1: unclosed action"),
        ("\n{{.ID", "template: :2: unclosed action"),
        ("{{if .ID}}x", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{foo .ID}}", "template: :1: function \"foo\" not defined"),
        (
            "{{define \"x\"}}{{end}}",
            "template: :1: {{define}} is not supported",
        ),
        ("{{}}", "template: :1: missing value for command"),
        (
            "{{.Foo}}",
            "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo",
        ),
        (
            "{{.Spec.Foo}}",
            "template: :1:7: executing \"\" at <.Spec.Foo>: can't evaluate field Foo",
        ),
        (
            "{{$x}}",
            "template: :1:2: executing \"\" at <$x>: undefined variable",
        ),
        (
            "{{index .Ports 9}}",
            "template: :1:2: executing \"\" at <index>: error calling index: index out of range: 9",
        ),
        (
            "{{lt .ID 1}}",
            "template: :1:2: executing \"\" at <lt>: error calling lt: \
             incompatible types for comparison",
        ),
        ("{{\"a}}", "template: :1: unterminated quoted string"),
    ] {
        assert_eq!(
            render(source).unwrap_err().to_string(),
            expected,
            "{source}"
        );
    }
}

#[test]
fn headers_pass_through_functions() {
    let headers = json!({"Name": "NAME"});
    let template = Template::parse("{{upper .Name}} {{.Label \"com.a_b\"}}").unwrap();
    assert_eq!(
        template.execute(&headers, Mode::Headers).unwrap(),
        "NAME a b"
    );
}

proptest::proptest! {
    #[test]
    fn no_template_panics(source in "[{}a-zA-Z.$|\"()=: ,0-9-]{0,30}") {
        if let Ok(template) = Template::parse(&source) {
            drop(template.execute(&data(), Mode::Rows));
        }
    }

    #[test]
    fn no_action_panics(inner in "(if|range|with|len|index|slice|printf|json|\\.ID|\\.Ports|\"%5s\"|\\$|\\||1| |end){0,8}") {
        let source = format!("{{{{{inner}}}}}x{{{{end}}}}");
        if let Ok(template) = Template::parse(&source) {
            drop(template.execute(&data(), Mode::Rows));
        }
    }
}

/// As the stock client prints them from Go's types.
#[test]
fn what_an_object_leaves_out_has_gos_zero_value() {
    let service = json!({
        "ID": "x",
        "Spec": {"Labels": {}, "TaskTemplate": {"ContainerSpec": {"Image": "web"}}, "Mode": {"Global": {}}},
        "Endpoint": {"Spec": {}},
    });
    let over = |source: &str| {
        let template = Template::parse(source).unwrap().over_object();
        template
            .execute(&service, Mode::Rows)
            .map_err(|error| error.to_string())
    };
    for (source, shown) in [
        (
            "{{.Spec.Name}}|{{.Spec.TaskTemplate.ContainerSpec.Hostname}}|",
            "||",
        ),
        ("{{.Spec.TaskTemplate.ContainerSpec.Env}}", "[]"),
        (
            "{{.Spec.TaskTemplate.ContainerSpec.TTY}} {{.Spec.TaskTemplate.ForceUpdate}}",
            "false 0",
        ),
        (
            "{{range .Endpoint.Ports}}x{{end}}{{len .Spec.TaskTemplate.Networks}}",
            "0",
        ),
        (
            "{{json .UpdateStatus}}{{if .Spec.Mode.Replicated}}r{{else}}g{{end}}",
            "nullg",
        ),
        (
            "{{json .Spec}}",
            r#"{"Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"web"}},"Mode":{"Global":{}}}"#,
        ),
    ] {
        assert_eq!(over(source).as_deref(), Ok(shown), "{source}");
    }
    for mistyped in ["{{.Name}}", "{{.Spec.Nope}}", "{{.UpdateStatus.State}}"] {
        assert!(
            over(mistyped).unwrap_err().contains("can't evaluate field"),
            "{mistyped}"
        );
    }
}

#[test]
fn gos_spelling_of_a_field_is_understood() {
    let network = json!({"Id": "abc", "Name": "n"});
    let template = Template::parse("{{.ID}} {{.Id}} {{.Name}}").unwrap();
    assert_eq!(
        template.execute(&network, Mode::Rows).as_deref(),
        Ok("abc abc n")
    );
}
