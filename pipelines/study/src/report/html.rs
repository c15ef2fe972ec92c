//! The page: one file, with its plots in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::table::{Cell, Table};
use super::{Report, Section};
use crate::error::StudyError;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h1{line-height:1.2}table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .75rem;border-bottom:1px solid #d8dee4;text-align:left}\
td.n{text-align:right;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600;padding:.25rem 0}\
svg,img{max-width:100%;height:auto}img{image-rendering:pixelated;min-width:50%}code{background:#f3f4f6;padding:.1rem .3rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem}dd{margin:0}";

pub(super) fn page(report: &Report) -> Result<String, StudyError> {
    let sections: Result<Vec<_>, _> = report.sections.iter().map(section).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (report.title) }
                p { (report.question) }
                @for section in sections? { (section) }
                (provenance(report))
            }
        }
    };
    Ok(page.into_string())
}

fn section(section: &Section) -> Result<Markup, StudyError> {
    let charts: Result<Vec<String>, _> = section.charts.iter().map(|chart| chart.svg()).collect();
    let charts = charts?;
    Ok(html! {
        h2 { (section.title) }
        @for text in &section.text { p { (text) } }
        @for chart in &charts { (PreEscaped(chart)) }
        @for shown in &section.tables { (table(shown)) }
        @for picture in &section.pictures {
            p { (picture.title) }
            img alt=(picture.title) src=(format!("data:image/png;base64,{}", STANDARD.encode(&picture.png)));
        }
    })
}

fn table(table: &Table) -> Markup {
    html! {
        table {
            caption { (table.title) }
            tr { @for column in &table.columns { th { (column) } } }
            @for row in &table.rows {
                tr {
                    @for cell in row {
                        @match cell {
                            Cell::Number(_) => td.n { (cell.shown()) },
                            _ => td { (cell.shown()) },
                        }
                    }
                }
            }
        }
    }
}

fn provenance(report: &Report) -> Markup {
    let made = &report.provenance;
    let seeds: Vec<String> = made.seeds.iter().map(u64::to_string).collect();
    html! {
        h2 { "How this was made" }
        dl {
            dt { "Command" } dd { code { (made.command) } }
            dt { "Program" } dd { "nextscale " (made.version) @if let Some(commit) = &made.commit { ", commit " (commit) } }
            dt { "Device" } dd { (made.device) }
            dt { "Processor" } dd { (made.processor) }
            dt { "Seeds" } dd { (seeds.join(", ")) }
        }
    }
}
