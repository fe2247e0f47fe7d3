//! `export`: messages into the portable format.

use std::sync::Arc;

use super::filter::Matcher;
use super::format::{FORMAT, Header, HeaderLane, Lines, Record, VERSION};
use super::request::Filter;
use super::{Answer, Flow, Hand, HandError, HandLane, Output};
use crate::clock;
use crate::exit::Exit;
use crate::message::rfc3339;

impl Hand {
    pub(super) fn export(
        &self,
        filter: &Filter,
        limit: Option<u64>,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        let matcher = Matcher::new(filter)?;
        let lanes = self.chosen(filter.lane.as_deref())?;
        let mut file = Lines::default();
        output(Answer::Record(file.header(&self.header(&lanes))?))?;
        let mut left = limit.unwrap_or(u64::MAX);
        for lane in lanes {
            let flow = self.walk(&lane, &matcher, output, |stored, output| {
                let Some(rest) = left.checked_sub(1) else {
                    return Ok(Flow::Enough);
                };
                left = rest;
                let record = Record::new(&self.origin(&lane, &stored), &stored.arrival);
                output(Answer::Record(file.record(&record)?))?;
                Ok(Flow::On)
            })?;
            if flow == Flow::Enough {
                output(Answer::Note("there are more; --limit was reached".to_owned()))?;
                break;
            }
        }
        output(Answer::Record(file.end()?))?;
        Ok(Exit::Stopped)
    }

    fn header(&self, lanes: &[Arc<HandLane>]) -> Header {
        let lanes = lanes.iter().map(|lane| HeaderLane {
            lane: lane.name.clone(),
            cursor: lane.monitor.cursor(),
            last: lane.monitor.last(),
        });
        Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            gateway: self.identity.gateway.clone(),
            epoch: self.identity.epoch.to_string(),
            exported_at: rfc3339(clock::unix_ms()),
            still_queued: true,
            lanes: lanes.collect(),
        }
    }
}
